import LayerModel

/// What is known of a name in a directory.
struct NameFlags: OptionSet, BitwiseCopyable {
    let rawValue: UInt16

    /// The layer itself has it there, or something inside.
    static let unpacked = NameFlags(rawValue: 1)
    /// The name is deleted: a whiteout stands for it.
    static let whiteout = NameFlags(rawValue: 2)
    /// Nothing lies there yet, but a hard link to a name that is still to come will.
    static let deferred = NameFlags(rawValue: 4)
    /// A path was led through a link of this name.
    static let followed = NameFlags(rawValue: 8)
    /// The layer has a device 0:0 there, which was taken for a deletion of the name.
    static let markDevice = NameFlags(rawValue: 16)
    /// An access list was left out, and the mode gives less than the entry's: see `AccessLimit`.
    static let limited = NameFlags(rawValue: 32)
}

/// One name in one directory. 24 bytes.
struct PackName: BitwiseCopyable {
    let name: UInt32
    let parent: UInt32
    /// The next name of the directory, 0 for none: name 0 is the root's own.
    var next: UInt32
    /// What lies under it, 0 for nothing.
    var inode: UInt32
    let hash: UInt32
    let length: UInt8
    var kind: EntryKind
    var flags: NameFlags
}

/// A file, or a whiteout. 56 bytes.
struct PackInode: BitwiseCopyable {
    var size: Int64 = 0
    var seconds: Int64 = 0
    var nanoseconds: UInt32 = 0
    var uid: UInt32 = 0
    var gid: UInt32 = 0
    /// Names that are left in the end; of a directory its subdirectories.
    var linkCount: UInt32 = 0
    /// Of a regular file its first block in the device, of a link the place of its target, of a device its number, of a
    /// directory its node.
    var content: UInt32 = 0
    /// The attributes' index, 0 for none.
    var attributes: UInt32 = 0
    /// The number in the image, 0 while there is none.
    var number: UInt32 = 0
    var mode: UInt16 = 0
    /// Which tar has the bytes, from 1; 0 where there are none.
    var device: UInt16 = 0

    @inline(__always) var kind: EntryKind { EntryKind(mode: UInt32(mode)) }
    var isWhiteout: Bool { kind == .characterDevice && content == 0 }
}

struct NodeFlags: OptionSet, BitwiseCopyable {
    let rawValue: UInt16

    /// Removed, with all below it.
    static let removed = NodeFlags(rawValue: 1)
    /// Something of this layer lies inside, or the layer names it.
    static let unpacked = NodeFlags(rawValue: 2)
    /// Nothing of the lower directories shows through it.
    static let opaque = NodeFlags(rawValue: 4)
    /// The archive names it only as part of a path.
    static let implied = NodeFlags(rawValue: 8)
    /// It holds names that the layer has not, or a directory below it does.
    static let hasStrays = NodeFlags(rawValue: 16)
    /// It holds whiteouts.
    static let hasWhiteouts = NodeFlags(rawValue: 32)
}

/// A directory. 28 bytes.
struct PackDirectory: BitwiseCopyable {
    var parent: UInt32 = 0
    /// Its own name's record.
    var name: UInt32 = 0
    var firstChild: UInt32 = 0
    /// Where its blocks begin in the image, and their bytes.
    var block: UInt32 = 0
    var byteCount: Int64 = 0
    var flags: NodeFlags = []
}

/// Attributes of an inode, as they lie in the image behind the area's header.
struct AttributePlace: BitwiseCopyable {
    var place: UInt32
    var count: UInt32
}
