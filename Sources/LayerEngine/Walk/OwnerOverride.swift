import LayerModel

/// What `user.containers.override_stat` says of a file: `uid:gid:mode[:kind]`, mode in octal.
///
/// Stores of containers/storage that were made with `force_mask` keep owners there, and special files as empty ones.
/// Everywhere else it is an attribute that any user may set on his own files, and means nothing.
struct OwnerOverride: Equatable {
    static let attribute: StaticString = "user.containers.override_stat"

    var uid: UInt32
    var gid: UInt32
    var mode: UInt32
    /// Nil where the value does not name it.
    var kind: EntryKind?
    var deviceMajor: UInt32 = 0
    var deviceMinor: UInt32 = 0

    /// Nil for a value of another form.
    init?(_ value: [UInt8]) {
        let parts = value.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
            .map { String(decoding: $0, as: UTF8.self) }
        guard parts.count == 3 || parts.count == 4, let uid = UInt32(parts[0]), let gid = UInt32(parts[1]),
            let mode = UInt32(parts[2], radix: 8)
        else { return nil }
        self.uid = uid
        self.gid = gid
        // fuse-overlayfs writes the type's bits with it.
        self.mode = mode & 0o7777
        guard parts.count == 4 else { return }
        let words = parts[3].split(separator: "-", omittingEmptySubsequences: false)
        switch words[0] {
        case "dir": kind = .directory
        case "file": kind = .regular
        case "symlink": kind = .symbolicLink
        case "pipe", "fifo": kind = .fifo
        case "socket": kind = .socket
        case "block", "char":
            guard words.count == 3, let major = UInt32(words[1]), let minor = UInt32(words[2]) else { return nil }
            kind = words[0] == "block" ? .blockDevice : .characterDevice
            (deviceMajor, deviceMinor) = (major, minor)
        default: return nil
        }
    }

    /// Puts what it says in the place of what the inode says; false where the inode cannot be what it names, and nothing
    /// is changed: only an empty file may stand for a special one.
    func apply(to metadata: inout EntryMetadata) -> Bool {
        let kind = kind ?? metadata.kind
        if kind != metadata.kind {
            guard metadata.kind == .regular, metadata.size == 0 else { return false }
            switch kind {
            case .fifo, .socket, .blockDevice: break
            case .characterDevice:
                // 0:0 would be a whiteout.
                guard deviceMajor != 0 || deviceMinor != 0 else { return false }
            default: return false
            }
        }
        if self.kind == .blockDevice || self.kind == .characterDevice {
            (metadata.deviceMajor, metadata.deviceMinor) = (deviceMajor, deviceMinor)
        }
        metadata.uid = uid
        metadata.gid = gid
        metadata.mode = kind.modeBits | mode
        return true
    }
}
