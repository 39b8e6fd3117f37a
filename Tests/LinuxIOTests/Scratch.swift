import Glibc
import LayerModel
import LinuxIO

/// A directory of a test's own, removed with all it holds when the test ends.
struct Scratch: ~Copyable {
    let path: String
    let directory: OwnedDescriptor

    init(in parent: String = "/var/tmp") throws {
        let made = try temporaryDirectory(in: parent)
        directory = try openPath(made, [.readOnly, .directory])
        path = made
    }

    deinit {
        try? removeContents(of: directory)
        rmdir(path)
    }

    /// Writes a file in one go.
    func write(_ name: String, _ bytes: [UInt8]) throws {
        let file = try open(name, [.writeOnly, .create, .truncate])
        try file.writeAll(bytes.span.bytes)
    }

    func open(_ name: String, _ flags: OpenFlags = .readOnly) throws -> OwnedDescriptor {
        let terminated = Array(name.utf8) + [0]
        return try directory.open(NamePointer(terminated: terminated.span.bytes), flags, mode: 0o644)
    }
}

private func temporaryDirectory(in parent: String) throws -> String {
    var template = Array("\(parent)/ldiff-linuxio-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw SystemCallError("mkdtemp", errno: errno) }
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

func openPath(_ path: String, _ flags: OpenFlags = .readOnly) throws -> OwnedDescriptor {
    let terminated = Array(path.utf8) + [0]
    return try OwnedDescriptor.open(NamePointer(terminated: terminated.span.bytes), flags, mode: 0o644)
}

/// Removes what a directory holds; what cannot be removed stays and is reported by nobody, being scratch.
func removeContents(of directory: borrowing OwnedDescriptor) throws {
    // A test may have read the directory through the same descriptor, to its end.
    _ = try directory.seek(0, .start)
    var names: [[UInt8]] = []
    var reader = DirectoryReader()
    while let entry = try reader.next(of: directory) { names.append(reader.name(of: entry).copied() + [0]) }
    for bytes in names {
        let name = NamePointer(terminated: bytes.span.bytes)
        if try directory.metadata(name).kind == .directory {
            try removeContents(of: directory.open(name, [.readOnly, .directory, .noFollow]))
            try directory.removeDirectory(name)
        } else {
            try directory.unlink(name)
        }
    }
}

/// Bytes that differ from file to file, and between offsets that are any power of two apart (the period is a prime).
func pattern(_ seed: Int, count: Int) -> [UInt8] {
    var state = UInt64(truncatingIfNeeded: seed) &* 0x9e37_79b9_7f4a_7c15 | 1
    let period = (0..<min(count, 251)).map { _ in
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return UInt8(truncatingIfNeeded: state >> 56)
    }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count)
    while bytes.count < count { bytes += period.prefix(count - bytes.count) }
    return bytes
}

/// The whole of a file, with plain calls.
func contents(_ file: borrowing OwnedDescriptor) throws -> [UInt8] {
    let slab = Slab(capacity: 1 << 16)
    var bytes: [UInt8] = []
    while true {
        let count = try file.read(into: slab, 0..<slab.capacity, at: Int64(bytes.count))
        if count == 0 { return bytes }
        bytes += slab.span(0..<count).copied()
    }
}

/// Descriptors of this process whose target begins with `prefix`; other tests of the process do not disturb it.
func openDescriptors(under prefix: String) throws -> Int {
    let directory = try openPath("/proc/self/fd", [.readOnly, .directory])
    var reader = DirectoryReader()
    let slab = Slab(capacity: 4096)
    var count = 0
    while let entry = try reader.next(of: directory) {
        let name = reader.name(of: entry).copied() + [0]
        let length = try? directory.readLink(NamePointer(terminated: name.span.bytes), into: slab, 0..<slab.capacity)
        guard let length else { continue }
        if String(decoding: slab.span(0..<length).copied(), as: UTF8.self).hasPrefix(prefix) { count += 1 }
    }
    return count
}
