import Glibc
import LayerModel
import LinuxIO
import Testing

@Suite struct AttributeTests {
    static func names(_ reader: borrowing AttributeReader) -> Set<String> {
        var position = 0
        var names: Set<String> = []
        while position < reader.listByteCount {
            let name = reader.name(at: position)
            names.insert(String(decoding: name.copied(), as: UTF8.self))
            position += name.byteCount + 1
        }
        return names
    }

    /// The entry's attributes as the reader gives them by name, without opening.
    static func all(_ name: borrowing NamePointer, _ directory: borrowing OwnedDescriptor) throws -> [String: [UInt8]] {
        var reader = AttributeReader()
        _ = try reader.list(of: name, in: directory)
        var found: [String: [UInt8]] = [:]
        var position = 0
        while position < reader.listByteCount {
            let text = String(decoding: reader.name(at: position).copied(), as: UTF8.self)
            let length = reader.name(at: position).byteCount
            let count = try #require(try reader.readValue(at: position, of: name, in: directory))
            #expect(reader.lastValue.byteCount == count)
            found[text] = reader.lastValue.copied()
            position += length + 1
        }
        return found
    }

    @Test func `attributes of files, directories and links, by name and by descriptor`() throws {
        let scratch = try Scratch()
        try scratch.write("file", [])
        try scratch.directory.makeDirectory(NamePointer("directory"), mode: 0o755)
        try scratch.directory.makeSymbolicLink(NamePointer("link"), target: NamePointer("file"))
        try scratch.directory.makeNode(NamePointer("device"), mode: 0o020600, major: 0, minor: 0)
        let value: [UInt8] = [0, 1, 255, 0]
        for (index, name) in ["file", "directory", "link", "device"].enumerated() {
            let bytes = Array(name.utf8) + [0]
            let pointer = NamePointer(terminated: bytes.span.bytes)
            try scratch.directory.setAttribute(
                NamePointer("trusted.number"), [UInt8(index)].span.bytes, of: pointer)
            try scratch.directory.setAttribute(NamePointer("trusted.value"), value.span.bytes, of: pointer)
            try scratch.directory.setAttribute(NamePointer("trusted.empty"), [UInt8]().span.bytes, of: pointer)
            #expect(
                try Self.all(pointer, scratch.directory)
                    == ["trusted.number": [UInt8(index)], "trusted.value": value, "trusted.empty": []])
        }
        let file = try scratch.open("file")
        var reader = AttributeReader()
        _ = try reader.list(of: file)
        #expect(Self.names(reader) == ["trusted.number", "trusted.value", "trusted.empty"])
        #expect(try reader.read(NamePointer("trusted.value"), of: file) == 4)
        #expect(reader.lastValue.copied() == value)
        #expect(try reader.read(NamePointer("trusted.absent"), of: file) == nil)
        #expect(reader.lastValue.byteCount == 0)
        #expect(try reader.read(NamePointer("trusted.number"), of: NamePointer("link"), in: scratch.directory) == 1)
        #expect(reader.lastValue.copied() == [2])
        try file.removeAttribute(NamePointer("trusted.value"))
        try file.removeAttribute(NamePointer("trusted.value"))
        #expect(try reader.list(of: file) == "trusted.number".utf8.count + "trusted.empty".utf8.count + 2)
        // What was listed and is gone meanwhile reads as absent.
        try file.removeAttribute(NamePointer("trusted.number"))
        try file.removeAttribute(NamePointer("trusted.empty"))
        #expect(try reader.readValue(at: 0, of: file) == nil)
    }

    @Test func `the largest value and many names`() throws {
        // tmpfs takes what the kernel allows; ext4 only a block.
        let scratch = try Scratch(in: "/dev/shm")
        try scratch.write("file", [])
        let file = try scratch.open("file", .readWrite)
        let big = pattern(4, count: 65_536)
        try file.setAttribute(NamePointer("trusted.big"), big.span.bytes)
        var reader = AttributeReader()
        #expect(try reader.read(NamePointer("trusted.big"), of: file) == 65_536)
        #expect(reader.lastValue.copied() == big)
        #expect(try Self.all(NamePointer("file"), scratch.directory) == ["trusted.big": big])
        #expect(throws: SystemCallError("fsetxattr", errno: E2BIG)) {
            try file.setAttribute(NamePointer("trusted.big"), [UInt8](repeating: 1, count: 65_537).span.bytes)
        }
        for index in 0..<1_000 {
            let name = Array("trusted.name-\(index)".utf8) + [0]
            try file.setAttribute(NamePointer(terminated: name.span.bytes), name.span.bytes)
        }
        _ = try reader.list(of: file)
        #expect(Self.names(reader).count == 1_001)
    }

    @Test func `a file system without attributes has none`() throws {
        let process = try openPath("/proc/self", [.readOnly, .directory])
        var reader = AttributeReader()
        #expect(try reader.list(of: NamePointer("status"), in: process) == 0)
        #expect(try reader.read(NamePointer("trusted.x"), of: NamePointer("status"), in: process) == nil)
    }

    @Test func `user attributes are refused on links and devices`() throws {
        let scratch = try Scratch()
        try scratch.directory.makeSymbolicLink(NamePointer("link"), target: NamePointer("file"))
        #expect(throws: SystemCallError("setxattrat", errno: EPERM)) {
            try scratch.directory.setAttribute(NamePointer("user.x"), [1].span.bytes, of: NamePointer("link"))
        }
    }
}
