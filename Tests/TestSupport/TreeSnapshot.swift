import Glibc
import LayerModel
import LinuxIO

/// All that a tree holds, for comparing two of them: kinds, modes, owners, times, contents, links, attributes.
package struct TreeSnapshot: Equatable, CustomStringConvertible {
    package struct Entry: Equatable {
        package var kind: EntryKind = .unknown
        package var mode: UInt32 = 0
        package var uid: UInt32 = 0
        package var gid: UInt32 = 0
        package var seconds: Int64 = 0
        package var nanoseconds: UInt32 = 0
        package var major: UInt32 = 0
        package var minor: UInt32 = 0
        /// Bytes of a regular file, or the text of a symbolic link.
        package var content: [UInt8] = []
        package var attributes: [String: [UInt8]] = [:]
        /// The first path of the same inode; the path itself where there is but one.
        package var firstPath = ""
        /// Allocated blocks of 512 bytes; not compared.
        package var blocks: UInt64 = 0
        package var inode: UInt64 = 0
        /// The file system: a union may show the same number twice. Not compared.
        package var device: UInt64 = 0

        package init() {}

        package static func == (left: Entry, right: Entry) -> Bool {
            left.kind == right.kind && left.mode == right.mode && left.uid == right.uid && left.gid == right.gid
                && left.seconds == right.seconds && left.nanoseconds == right.nanoseconds
                && left.major == right.major && left.minor == right.minor && left.content == right.content
                && left.attributes == right.attributes && left.firstPath == right.firstPath
        }

        /// The content as text.
        package var text: String { String(decoding: content, as: UTF8.self) }
    }

    /// By path relative to the root, as `snapshotKey` escapes it; the root itself is ".".
    package var entries: [String: Entry] = [:]

    /// What a comparison leaves out.
    package struct Ignored: OptionSet, Sendable {
        package let rawValue: Int
        package init(rawValue: Int) { self.rawValue = rawValue }
        package static let root = Ignored(rawValue: 1)
        package static let directoryTimes = Ignored(rawValue: 2)
        package static let times = Ignored(rawValue: 4)
        /// Attributes of overlayfs itself.
        package static let overlayAttributes = Ignored(rawValue: 8)
        package static let linkGroups = Ignored(rawValue: 16)
    }

    /// The snapshot of a tree that is not on a disk.
    package init(_ entries: [String: Entry]) { self.entries = entries }

    package init(_ path: String, ignoring ignored: Ignored = []) throws {
        var firsts: [FileIdentity: String] = [:]
        let root = try openPath(path)
        if !ignored.contains(.root) {
            entries["."] = try Self.entry(NamePointer("."), in: root, ignored)
            entries["."]?.firstPath = "."
        }
        let reader = TreeReader()
        try reader.walk(root, prefix: "", ignored) { path, entry in
            var entry = entry
            let identity = FileIdentity(device: entry.device, inode: entry.inode)
            let first = entry.kind == .directory || ignored.contains(.linkGroups) ? path : firsts[identity] ?? path
            firsts[identity] = first
            entry.firstPath = first
            entries[path] = entry
        }
    }

    package subscript(path: String) -> Entry? { entries[path] }

    /// All paths but the root's, sorted; directories end in a slash.
    package var paths: [String] {
        entries.filter { $0.key != "." }.map { $0.value.kind == .directory ? $0.key + "/" : $0.key }.sorted()
    }

    /// One line for each difference from `other`.
    package func differences(from other: TreeSnapshot) -> [String] {
        var lines: [String] = []
        for path in Set(entries.keys).union(other.entries.keys).sorted() {
            switch (entries[path], other.entries[path]) {
            case (let left?, let right?) where left != right: lines.append("\(path): \(left) | \(right)")
            case (let left?, nil): lines.append("\(path): only left: \(left)")
            case (nil, let right?): lines.append("\(path): only right: \(right)")
            default: break
            }
        }
        return lines
    }

    package var description: String { paths.joined(separator: " ") }

    static func entry(_ name: borrowing NamePointer, in directory: borrowing OwnedDescriptor, _ ignored: Ignored)
        throws -> Entry
    {
        let metadata = try directory.metadata(name)
        var entry = Entry()
        entry.kind = metadata.kind
        entry.mode = metadata.mode & 0o7777
        entry.uid = metadata.uid
        entry.gid = metadata.gid
        entry.inode = metadata.inode
        entry.device = metadata.device
        entry.blocks = metadata.blocks
        let hasTime = !ignored.contains(.times) && !(metadata.kind == .directory && ignored.contains(.directoryTimes))
        if hasTime {
            entry.seconds = metadata.mtimeSeconds
            entry.nanoseconds = metadata.mtimeNanoseconds
        }
        entry.major = metadata.deviceMajor
        entry.minor = metadata.deviceMinor
        let buffer = Slab(capacity: 1 << 16)
        if metadata.kind == .symbolicLink {
            let count = try directory.readLink(name, into: buffer, 0..<4096)
            entry.content = buffer.span(0..<count).copied()
        } else if metadata.kind == .regular {
            let file = try directory.open(name, [.readOnly, .noFollow])
            while true {
                let count = try file.read(into: buffer, 0..<buffer.capacity)
                if count == 0 { break }
                entry.content += buffer.span(0..<count).copied()
            }
        }
        var reader = AttributeReader()
        let total = try reader.list(of: name, in: directory)
        var position = 0
        while position < total {
            let attribute = reader.name(at: position).copied()
            let start = position
            position += attribute.count + 1
            let text = String(decoding: attribute, as: UTF8.self)
            if ignored.contains(.overlayAttributes), text.contains("overlay.") { continue }
            if try reader.readValue(at: start, of: name, in: directory) != nil {
                entry.attributes[text] = reader.lastValue.copied()
            }
        }
        return entry
    }
}

/// A name as a key: everything but plain ASCII as `\xNN`, since String takes different bytes for equal letters.
package func snapshotKey(_ name: [UInt8]) -> String {
    var text = ""
    for byte in name {
        if byte > 0x20, byte < 0x7f, byte != UInt8(ascii: "\\") {
            text.unicodeScalars.append(Unicode.Scalar(byte))
        } else {
            text += "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }
    }
    return text
}

/// Walks a tree in bytewise order without following links.
private struct TreeReader {
    func walk(
        _ directory: borrowing OwnedDescriptor, prefix: String, _ ignored: TreeSnapshot.Ignored,
        _ body: (String, TreeSnapshot.Entry) throws -> Void
    ) throws {
        var names: [[UInt8]] = []
        var reader = DirectoryReader()
        let readable = try directory.open(NamePointer("."), [.readOnly, .directory])
        while let entry = try reader.next(of: readable) { names.append(reader.name(of: entry).copied()) }
        names.sort { $0.lexicographicallyPrecedes($1) }
        for name in names {
            let terminated = name + [0]
            let pointer = NamePointer(terminated: terminated.rawBytes)
            let entry = try TreeSnapshot.entry(pointer, in: directory, ignored)
            let path = prefix + snapshotKey(name)
            try body(path, entry)
            if entry.kind == .directory {
                let child = try directory.open(pointer, [.readOnly, .directory, .noFollow])
                try walk(child, prefix: path + "/", ignored, body)
            }
        }
    }
}

/// Opens a directory by its path.
package func openPath(_ path: String, _ flags: OpenFlags = [.readOnly, .directory]) throws -> OwnedDescriptor {
    let terminated = Array(path.utf8) + [0]
    return try OwnedDescriptor.open(NamePointer(terminated: terminated.rawBytes), flags)
}

/// A directory of a test's own, removed with all it holds when the test ends. It lies on a file system with `user.`,
/// `trusted.` and `security.` attributes.
package final class TemporaryDirectory {
    package let path: String

    package init(in parent: String = "/var/tmp") throws {
        var template = Array("\(parent)/ldiff-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemCallError("mkdtemp", errno: errno) }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        if let handle = try? openPath(path) { try? removeContents(of: handle) }
        rmdir(path)
    }

    /// Makes a directory inside and returns its path.
    package func directory(_ name: String, mode: mode_t = 0o755) throws -> String {
        let full = path + "/" + name
        guard mkdir(full, mode) == 0, chmod(full, mode) == 0 else { throw SystemCallError("mkdir", errno: errno) }
        return full
    }
}

/// Removes what a directory holds; deep trees too.
private func removeContents(of directory: borrowing OwnedDescriptor) throws {
    var names: [[UInt8]] = []
    var reader = DirectoryReader()
    let readable = try directory.open(NamePointer("."), [.readOnly, .directory])
    while let entry = try reader.next(of: readable) { names.append(reader.name(of: entry).copied() + [0]) }
    for bytes in names {
        let name = NamePointer(terminated: bytes.rawBytes)
        if try directory.metadata(name).kind == .directory {
            let child = try directory.open(name, [.readOnly, .directory, .noFollow])
            try removeContents(of: child)
            try directory.removeDirectory(name)
        } else {
            try directory.unlink(name)
        }
    }
}

/// A stream from memory, in slabs of a chosen size.
package struct MemorySource: SlabSource, ~Copyable {
    private let bytes: [UInt8]
    private var position = 0
    private let pieceSize: Int
    private let pool: SlabPool

    package init(_ bytes: [UInt8], pieceSize: Int = SlabSourceDefaults.payload) {
        self.bytes = bytes
        self.pieceSize = pieceSize
        pool = SlabPool(
            slabCapacity: SlabSourceDefaults.headroom + pieceSize, headroom: SlabSourceDefaults.headroom)
    }

    package mutating func next() throws(LayerError) -> Slab? {
        guard position < bytes.count else { return nil }
        let end = min(position + pieceSize, bytes.count)
        let slab = pool.take()
        slab.append(bytes.rawBytes.extracting(position..<end))
        position = end
        return slab
    }

    package mutating func recycle(_ slab: consuming Slab) { pool.give(slab) }
}
