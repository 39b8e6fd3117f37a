package import LayerModel
import TarCodec

/// What an entry of a layer is.
package enum ComparedKind: UInt8, Sendable, BitwiseCopyable {
    case regular, directory, symbolicLink, characterDevice, blockDevice, fifo
    /// A hard link to a name of a layer below.
    case linkBelow
    /// A name that is deleted.
    case deletion
    /// A directory that hides what lies below, and of which nothing else is said.
    case opaque

    init?(_ type: UInt8) {
        switch type {
        case TarType.regular, TarType.contiguous, TarType.gnuSparse: self = .regular
        case TarType.directory: self = .directory
        case TarType.symbolicLink: self = .symbolicLink
        case TarType.character: self = .characterDevice
        case TarType.block: self = .blockDevice
        case TarType.fifo: self = .fifo
        default: return nil
        }
    }

    /// What people call it.
    package var name: String {
        switch self {
        case .regular: "file"
        case .directory: "directory"
        case .symbolicLink: "symlink"
        case .characterDevice: "character device"
        case .blockDevice: "block device"
        case .fifo: "fifo"
        case .linkBelow: "hard link to a lower layer"
        case .deletion: "deletion"
        case .opaque: "opaque mark"
        }
    }
}

/// An extended attribute; of its value the digest.
package struct ComparedAttribute: Sendable, Hashable {
    package var name: PathBytes
    package var digest: Digest
}

/// In what two entries of one path differ, or what a comparison does not look at.
package struct EntryAspects: OptionSet, Sendable, Hashable {
    package let rawValue: UInt16
    package init(rawValue: UInt16) { self.rawValue = rawValue }

    package static let kind = EntryAspects(rawValue: 1)
    package static let mode = EntryAspects(rawValue: 2)
    package static let owner = EntryAspects(rawValue: 4)
    package static let times = EntryAspects(rawValue: 8)
    package static let attributes = EntryAspects(rawValue: 16)
    /// Bytes of a file, target of a symbolic link, number of a device.
    package static let contents = EntryAspects(rawValue: 32)
    /// Which names are names of one file.
    package static let links = EntryAspects(rawValue: 64)
    /// Names that are deleted, directories that hide what lies below.
    package static let deletions = EntryAspects(rawValue: 128)
    /// Only to leave out: what times have beyond whole seconds.
    package static let nanoseconds = EntryAspects(rawValue: 256)

    /// The words for them, in the order in which they are told.
    package static let words: [(word: String, aspect: EntryAspects)] = [
        ("kind", .kind), ("mode", .mode), ("owner", .owner), ("times", .times), ("nanoseconds", .nanoseconds),
        ("attributes", .attributes), ("contents", .contents), ("links", .links), ("deletions", .deletions),
    ]
}

/// One side of a difference.
package struct ComparedEntry: Sendable, Equatable {
    package var kind: ComparedKind
    package var mode: UInt16
    package var uid: UInt32
    package var gid: UInt32
    package var seconds: Int64
    package var nanoseconds: Int32
    /// Bytes of a file.
    package var size: Int64
    /// The digest of a file's contents; nil for an empty one.
    package var digest: Digest?
    /// Where a link leads.
    package var target: PathBytes?
    package var device: (major: UInt32, minor: UInt32)?
    package var attributes: [ComparedAttribute]
    /// The first name, among those that both trees have, of the same file, if it is another.
    package var firstName: PathBytes?
    package var isOpaque: Bool

    package static func == (left: ComparedEntry, right: ComparedEntry) -> Bool {
        left.kind == right.kind && left.mode == right.mode && left.uid == right.uid && left.gid == right.gid
            && left.seconds == right.seconds && left.nanoseconds == right.nanoseconds && left.size == right.size
            && left.digest == right.digest && left.target == right.target && left.attributes == right.attributes
            && left.firstName == right.firstName && left.isOpaque == right.isOpaque
            && left.device?.major == right.device?.major && left.device?.minor == right.device?.minor
    }
}

/// A path under which two trees differ.
package struct DifferingEntry: Sendable, Equatable {
    package var path: PathBytes
    /// What the trees have there; nil where one has nothing.
    package var first: ComparedEntry?
    package var second: ComparedEntry?
    /// In what they differ, where both have something.
    package var aspects: EntryAspects
}
