import Glibc

/// All that a tree holds, read by plain calls, for comparing trees.
struct TreeListing {
    struct Entry: Equatable, CustomStringConvertible {
        var kind: mode_t = 0
        var mode: mode_t = 0
        var uid: uid_t = 0
        var gid: gid_t = 0
        var seconds = 0
        var nanoseconds = 0
        var device: dev_t = 0
        var size = 0
        /// A sum of a file's contents.
        var sum: UInt64 = 0
        var link: Name = []
        var attributes: [Name: Name] = [:]
        /// The first path of the same inode.
        var first: Name = []

        var description: String {
            fields(comparedWith: nil).map { "\($0.0) \($0.1)" }.joined(separator: ", ")
        }

        /// The fields by name, or only those in which another entry differs.
        private func fields(comparedWith other: Entry?) -> [(String, String)] {
            var fields: [(String, String)] = [
                ("kind", String(kind, radix: 8)), ("mode", String(mode, radix: 8)), ("owner", "\(uid):\(gid)"),
                ("time", "\(seconds).\(nanoseconds)"), ("device", "\(device)"), ("size", "\(size)"),
                ("sum", String(sum, radix: 16)), ("link", shown(link)), ("first name", shown(first)),
            ]
            for label in Set(attributes.keys).union(other?.attributes.keys.map { $0 } ?? []) {
                fields.append((shown(label), attributes[label].map { shown($0.prefix(60)) } ?? "missing"))
            }
            guard let other else { return fields }
            let others = Dictionary(other.fields(comparedWith: nil)) { $1 }
            return fields.filter { others[$0.0] ?? "missing" != $0.1 }
        }

        /// In what it differs from another entry.
        func difference(from other: Entry) -> String {
            let wanted = Dictionary(other.fields(comparedWith: nil)) { $1 }
            return fields(comparedWith: other)
                .map { "\($0.0) is \($0.1), not \(wanted[$0.0] ?? "missing")" }.joined(separator: "; ")
        }
    }

    /// By path relative to the root, which is not in it.
    var entries: [Name: Entry] = [:]
    private var firsts: [String: Name] = [:]

    init() {}

    init(_ path: String) throws { try walk(Folder(path), prefix: []) }

    private mutating func walk(_ folder: Folder, prefix: Name) throws {
        for name in try folder.names() {
            guard let status = folder.status(name) else { throw Trouble("\(shown(name)) vanished") }
            let path = prefix + name
            var entry = Entry()
            entry.kind = status.st_mode & S_IFMT
            entry.mode = status.st_mode & 0o7777
            (entry.uid, entry.gid) = (status.st_uid, status.st_gid)
            (entry.seconds, entry.nanoseconds) = (status.st_mtim.tv_sec, status.st_mtim.tv_nsec)
            if entry.kind == S_IFCHR || entry.kind == S_IFBLK { entry.device = status.st_rdev }
            if entry.kind == S_IFLNK { entry.link = try folder.linkText(name) }
            if entry.kind == S_IFREG {
                entry.size = Int(status.st_size)
                entry.sum = try Self.sum(folder, name)
            }
            for attribute in try folder.attributes(name) { entry.attributes[attribute.name] = attribute.value }
            let inode = "\(status.st_dev):\(status.st_ino)"
            entry.first = entry.kind == S_IFDIR ? path : firsts[inode] ?? path
            if firsts[inode] == nil { firsts[inode] = path }
            entries[path] = entry
            if entry.kind == S_IFDIR { try walk(folder.folder(name), prefix: path + [UInt8(ascii: "/")]) }
        }
    }

    /// A sum in which every byte and its place count.
    private static func sum(_ folder: Folder, _ name: Name) throws -> UInt64 {
        let file = folder.open(name)
        guard file >= 0 else { throw Trouble.call("open", shown(name)) }
        defer { close(file) }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 8)
        defer { buffer.deallocate() }
        var sum = firstSum
        while true {
            var count = 0
            // Whole pieces, so that a file's sum does not depend on how it was read.
            while count < buffer.count {
                let more = read(file, buffer.baseAddress.map { $0 + count }, buffer.count - count)
                guard more >= 0 else { throw Trouble.call("read", shown(name)) }
                if more == 0 { break }
                count += more
            }
            add(UnsafeRawBufferPointer(rebasing: buffer[..<count]), to: &sum)
            if count < buffer.count { return sum }
        }
    }

    private static let firstSum: UInt64 = 0xcbf2_9ce4_8422_2325

    /// The sum of a file with these bytes.
    static func sum(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        var sum = firstSum
        add(bytes, to: &sum)
        return sum
    }

    /// Adds bytes to a sum; all but the last of a file's pieces are whole words.
    private static func add(_ bytes: UnsafeRawBufferPointer, to sum: inout UInt64) {
        var place = 0
        while place < bytes.count {
            var word: UInt64 = 0
            if place + 8 <= bytes.count {
                word = bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self)
            } else {
                for (index, byte) in bytes[place...].enumerated() { word |= UInt64(byte) << (8 * index) }
            }
            sum = (sum ^ word) &* 0x9e37_79b9_7f4a_7c15
            sum ^= sum >> 31
            place += 8
        }
    }

    /// Changes every entry, or leaves it out.
    func mapped(_ change: (Name, inout Entry) -> Bool) -> TreeListing {
        var result = TreeListing()
        for (path, entry) in entries {
            var entry = entry
            if change(path, &entry) { result.entries[path] = entry }
        }
        return result
    }

    /// The first few differences from another tree.
    func differences(from other: TreeListing, limit: Int = 3) -> [String] {
        var lines: [String] = []
        let paths = Set(entries.keys).union(other.entries.keys).sorted { $0.lexicographicallyPrecedes($1) }
        for path in paths where entries[path] != other.entries[path] {
            switch (entries[path], other.entries[path]) {
            case (let left?, let right?): lines.append("\(shown(path)): \(left.difference(from: right))")
            case (nil, let right?): lines.append("\(shown(path)) is missing: \(right)")
            case (let left?, nil): lines.append("\(shown(path)) should not be there: \(left)")
            case (nil, nil): break
            }
            if lines.count == limit { return lines }
        }
        return lines
    }
}
