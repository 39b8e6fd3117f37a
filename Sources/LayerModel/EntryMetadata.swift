/// What an entry is, from the type bits of its mode.
public enum EntryKind: UInt8, Sendable, BitwiseCopyable {
    case unknown = 0
    case regular
    case directory
    case symbolicLink
    case characterDevice
    case blockDevice
    case fifo
    case socket

    /// The kind in `mode`'s type bits, see inode(7).
    @inlinable
    public init(mode: UInt32) {
        switch mode & 0o170000 {
        case 0o100000: self = .regular
        case 0o040000: self = .directory
        case 0o120000: self = .symbolicLink
        case 0o020000: self = .characterDevice
        case 0o060000: self = .blockDevice
        case 0o010000: self = .fifo
        case 0o140000: self = .socket
        default: self = .unknown
        }
    }

    /// The kind for `d_type` of getdents64(2); `.unknown` where the file system does not say.
    @inlinable
    public init(directoryEntryType type: UInt8) {
        switch type {
        case 8: self = .regular
        case 4: self = .directory
        case 10: self = .symbolicLink
        case 2: self = .characterDevice
        case 6: self = .blockDevice
        case 1: self = .fifo
        case 12: self = .socket
        default: self = .unknown
        }
    }

    /// The type bits of a mode.
    public var modeBits: UInt32 {
        switch self {
        case .regular: 0o100000
        case .directory: 0o040000
        case .symbolicLink: 0o120000
        case .characterDevice: 0o020000
        case .blockDevice: 0o060000
        case .fifo: 0o010000
        case .socket: 0o140000
        case .unknown: 0
        }
    }
}

/// What an inode says of itself, as statx(2) gives it. Sizes in bytes, times since 1970.
public struct EntryMetadata: BitwiseCopyable, Sendable, Equatable {
    public var inode: UInt64 = 0
    public var device: UInt64 = 0
    public var size: Int64 = 0
    /// Allocated blocks of 512 bytes.
    public var blocks: UInt64 = 0
    public var mtimeSeconds: Int64 = 0
    public var ctimeSeconds: Int64 = 0
    public var atimeSeconds: Int64 = 0
    public var mtimeNanoseconds: UInt32 = 0
    public var ctimeNanoseconds: UInt32 = 0
    public var atimeNanoseconds: UInt32 = 0
    /// Type and permission bits.
    public var mode: UInt32 = 0
    public var uid: UInt32 = 0
    public var gid: UInt32 = 0
    public var linkCount: UInt32 = 0
    public var deviceMajor: UInt32 = 0
    public var deviceMinor: UInt32 = 0

    public init() {}

    /// The kind in the mode's type bits.
    @inlinable public var kind: EntryKind { EntryKind(mode: mode) }

    /// Whether this is overlayfs's whiteout form: a character device numbered 0:0.
    @inlinable public var isWhiteoutDevice: Bool {
        mode & 0o170000 == 0o020000 && deviceMajor == 0 && deviceMinor == 0
    }
}
