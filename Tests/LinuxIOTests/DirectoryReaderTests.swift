import Glibc
import LayerModel
import LinuxIO
import Testing

@Suite struct DirectoryReaderTests {
    /// All entries of a directory: name to inode and kind.
    static func list(_ directory: borrowing OwnedDescriptor, _ reader: inout DirectoryReader) throws
        -> [[UInt8]: DirectoryEntry]
    {
        var found: [[UInt8]: DirectoryEntry] = [:]
        while let entry = try reader.next(of: directory) {
            let name = reader.name(of: entry)
            #expect(name.byteCount == entry.nameLength)
            #expect(found.updateValue(entry, forKey: name.copied()) == nil, "a name came twice")
        }
        return found
    }

    @Test(arguments: [512, 64 << 10])
    func `a hundred thousand names come once each`(capacity: Int) throws {
        let scratch = try Scratch(in: "/dev/shm")
        let count = capacity == 512 ? 10_000 : 100_000
        for index in 0..<count {
            let name = Array("entry-\(index)".utf8) + [0]
            try scratch.directory.makeNode(NamePointer(terminated: name.span.bytes), mode: 0o100600, major: 0, minor: 0)
        }
        var reader = DirectoryReader(capacity: capacity)
        let found = try Self.list(scratch.directory, &reader)
        #expect(found.count == count)
        #expect((0..<count).allSatisfy { found[Array("entry-\($0)".utf8)]?.kind == .regular })
        #expect(reader.calls > count * 24 / capacity)
    }

    @Test func `names are any bytes but NUL and slash`() throws {
        let scratch = try Scratch()
        var names: [[UInt8]] = (1...255).filter { $0 != 0x2f && $0 != 0x2e }.map { [UInt8($0)] }
        names += [
            Array("...".utf8), Array(".a".utf8), Array("..a".utf8), [0xff, 0xfe], Array("new\nline".utf8),
            [UInt8](repeating: 0x78, count: 255), [UInt8](repeating: 0xc3, count: 255),
        ]
        for name in names.reversed() where name.count <= 255 {
            try scratch.directory.makeDirectory(NamePointer(terminated: (name + [0]).span.bytes), mode: 0o755)
        }
        var reader = DirectoryReader()
        let found = try Self.list(scratch.directory, &reader)
        #expect(Set(found.keys) == Set(names))
        for (name, entry) in found {
            let metadata = try scratch.directory.metadata(NamePointer(terminated: (name + [0]).span.bytes))
            #expect(metadata.inode == entry.inode && entry.kind == .directory)
        }
    }

    @Test func `kinds of all types of entries, and reuse for another directory`() throws {
        let scratch = try Scratch()
        try scratch.write("regular", [])
        let directory = NamePointer("directory")
        try scratch.directory.makeDirectory(directory, mode: 0o755)
        try scratch.directory.makeSymbolicLink(NamePointer("link"), target: NamePointer("nowhere"))
        try scratch.directory.makeNode(NamePointer("fifo"), mode: 0o010600, major: 0, minor: 0)
        try scratch.directory.makeNode(NamePointer("socket"), mode: 0o140600, major: 0, minor: 0)
        try scratch.directory.makeNode(NamePointer("character"), mode: 0o020600, major: 1, minor: 3)
        try scratch.directory.makeNode(NamePointer("block"), mode: 0o060600, major: 7, minor: 300)
        var reader = DirectoryReader()
        let expected: [String: EntryKind] = [
            "regular": .regular, "directory": .directory, "link": .symbolicLink, "fifo": .fifo, "socket": .socket,
            "character": .characterDevice, "block": .blockDevice,
        ]
        let found = try Self.list(scratch.directory, &reader)
        let kinds = found.map { (String(decoding: $0.key, as: UTF8.self), $0.value.kind) }
        #expect(Dictionary(uniqueKeysWithValues: kinds) == expected)
        for (name, kind) in expected {
            let metadata = try scratch.directory.metadata(NamePointer(terminated: (Array(name.utf8) + [0]).span.bytes))
            #expect(metadata.kind == kind)
        }
        let block = try scratch.directory.metadata(NamePointer("block"))
        #expect(block.deviceMajor == 7 && block.deviceMinor == 300)
        let empty = try scratch.directory.open(directory, [.readOnly, .directory])
        reader.restart()
        #expect(try Self.list(empty, &reader).isEmpty)
    }

    @Test func `errors carry the call and errno`() throws {
        let scratch = try Scratch()
        try scratch.write("file", [])
        let file = try scratch.open("file")
        #expect(throws: SystemCallError("getdents64", errno: ENOTDIR)) {
            var reader = DirectoryReader()
            _ = try reader.next(of: file)
        }
    }
}
