import Glibc

/// The manners of writing a layer that the nets know, by the names that `--profile` takes.
enum Profile: String, CaseIterable {
    case full, moby, docker20late, containerd
}

/// Writes the layer of a whole tree: one entry after the other, each file read from its beginning to its end.
struct ReferenceTar {
    private let profile: Profile
    private let output: Int32
    private var firstNames: [String: Name] = [:]
    private var buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 8)
    /// What is written next, gathered so that small files do not cost a call each.
    private var gathered: Name = []
    private(set) var entries = 0

    private init(_ profile: Profile, _ output: Int32) {
        self.profile = profile
        self.output = output
    }

    /// Writes the layer of `tree` to the file `path`; the count of its entries.
    @discardableResult
    static func write(_ tree: String, to path: String, _ profile: Profile = .full) throws -> Int {
        let output = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard output >= 0 else { throw Trouble.call("create", path) }
        defer { close(output) }
        var writer = ReferenceTar(profile, output)
        defer { writer.buffer.deallocate() }
        try writer.walk(Folder(tree), prefix: [])
        try writer.put(Name(repeating: 0, count: 1024))
        try writer.flush()
        return writer.entries
    }

    private mutating func walk(_ folder: Folder, prefix: Name) throws {
        for name in try folder.names() {
            guard let status = folder.status(name) else { throw Trouble("\(shown(name)) vanished") }
            let kind = status.st_mode & S_IFMT
            if kind == S_IFSOCK { continue }
            entries += 1
            let path = prefix + name
            var fields = try fields(folder, name, status)
            fields.name = kind == S_IFDIR ? path + "/".name : path
            let inode = "\(status.st_dev):\(status.st_ino)"
            if kind != S_IFDIR, status.st_nlink > 1, let first = firstNames[inode] {
                fields.type = UInt8(ascii: "1")
                fields.linkName = first
                fields.size = 0
                try put(ReferenceHeader.blocks(fields))
                continue
            }
            if kind != S_IFDIR { firstNames[inode] = path }
            try put(ReferenceHeader.blocks(fields))
            if kind == S_IFREG { try body(folder, name, Int(status.st_size)) }
            if kind == S_IFDIR { try walk(folder.folder(name), prefix: fields.name) }
        }
    }

    private func fields(_ folder: Folder, _ name: Name, _ status: stat) throws -> HeaderFields {
        var fields = HeaderFields()
        let kind = status.st_mode & S_IFMT
        fields.mode = Int64(profile == .docker20late ? status.st_mode : status.st_mode & 0o7777)
        fields.uid = Int64(status.st_uid)
        fields.gid = Int64(status.st_gid)
        fields.mtime = Int64(status.st_mtim.tv_sec)
        switch kind {
        case S_IFREG: fields.size = Int64(status.st_size)
        case S_IFDIR: fields.type = UInt8(ascii: "5")
        case S_IFLNK:
            fields.type = UInt8(ascii: "2")
            fields.linkName = try folder.linkText(name)
        case S_IFIFO: fields.type = UInt8(ascii: "6")
        default:
            fields.type = kind == S_IFCHR ? UInt8(ascii: "3") : UInt8(ascii: "4")
            let device = UInt64(status.st_rdev)
            fields.major = Int64((device >> 8) & 0xfff | (device >> 32) & ~0xfff)
            fields.minor = Int64(device & 0xff | (device >> 12) & ~0xff)
        }
        fields.attributes = try folder.attributes(name).compactMap { attribute in
            guard isExported(attribute.name) else { return nil }
            var value = attribute.value
            // Revision 3 names a user who means nothing elsewhere; Docker writes revision 2.
            if profile != .containerd, attribute.name == "security.capability".name, value.count == 24, value[3] == 3 {
                value[3] = 2
                value.removeLast(4)
            }
            return (attribute.name, value)
        }
        return fields
    }

    private func isExported(_ label: Name) -> Bool {
        if label == "security.capability".name { return true }
        guard profile == .full else { return false }
        if label == "security.ima".name || label.starts(with: "system.posix_acl_".name) { return true }
        let hidden = ["user.overlay.", "user.fuseoverlayfs.", "user.containers.override_"]
        return label.starts(with: "user.".name) && !label.contains(UInt8(ascii: "="))
            && !hidden.contains { label.starts(with: $0.name) }
    }

    private mutating func body(_ folder: Folder, _ name: Name, _ size: Int) throws {
        let file = folder.open(name)
        guard file >= 0 else { throw Trouble.call("open", shown(name)) }
        defer { close(file) }
        var done = 0
        while done < size {
            let count = pread(file, buffer.baseAddress, min(buffer.count, size - done), done)
            guard count > 0 else { throw Trouble.call("read", shown(name)) }
            try put(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            done += count
        }
        try put(Name(repeating: 0, count: -size & 511))
    }

    private mutating func put(_ bytes: Name) throws { try bytes.withUnsafeBytes { try put($0) } }

    private mutating func put(_ bytes: UnsafeRawBufferPointer) throws {
        if bytes.count > 65_536 {
            try flush()
            return try writeAll(bytes, to: output)
        }
        gathered.append(contentsOf: bytes)
        if gathered.count > 1 << 20 { try flush() }
    }

    private mutating func flush() throws {
        try gathered.withUnsafeBytes { try writeAll($0, to: output) }
        gathered.removeAll(keepingCapacity: true)
    }
}
