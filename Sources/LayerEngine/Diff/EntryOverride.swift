import LayerModel

extension EntryRecord {
    /// Takes owner, mode and type from `user.containers.override_stat` = `uid:gid:mode[:type]`, mode in octal
    /// (layer-archive.md D34). A value of another form changes nothing.
    mutating func applyOverride(_ value: [UInt8]) {
        let parts = value.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
            .map { String(decoding: $0, as: UTF8.self) }
        guard parts.count == 3 || parts.count == 4, let uid = UInt32(parts[0]), let gid = UInt32(parts[1]),
            let mode = UInt32(parts[2], radix: 8)
        else { return }
        var kind = kind
        var device: (major: UInt32, minor: UInt32) = (deviceMajor, deviceMinor)
        if parts.count == 4 {
            let words = parts[3].split(separator: "-")
            switch words.first {
            case "dir": kind = .directory
            case "file": kind = .regular
            case "symlink": kind = .symbolicLink
            case "pipe", "fifo": kind = .fifo
            case "socket": kind = .socket
            case "block", "char":
                guard words.count == 3, let major = UInt32(words[1]), let minor = UInt32(words[2]) else { return }
                kind = words[0] == "block" ? .blockDevice : .characterDevice
                device = (major, minor)
            default: return
            }
        }
        self.uid = uid
        self.gid = gid
        // A directory stays one, whatever the attribute says: it has contents.
        self.kind = self.kind == .directory ? .directory : kind
        self.mode = self.kind.modeBits | mode & 0o7777
        (deviceMajor, deviceMinor) = device
    }
}
