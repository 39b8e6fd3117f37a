import LayerModel
import LinuxIO

/// What is known of a name in a directory.
struct NameFlags: OptionSet, BitwiseCopyable {
    let rawValue: UInt16

    /// `kind` says what lies on disk; `.unknown` then means nothing.
    static let known = NameFlags(rawValue: 1)
    /// This layer put it there.
    static let unpacked = NameFlags(rawValue: 2)
    /// The name is deleted: a whiteout of it lies on disk.
    static let whiteout = NameFlags(rawValue: 4)
    /// Nothing lies there yet, but a hard link to a name that is still to come will.
    static let deferred = NameFlags(rawValue: 8)
    /// This apply made it, though the layer did not ask for it: an implied directory, a copy of a lower entry.
    static let made = NameFlags(rawValue: 16)
    /// A path was led through a link of this name, of the target or of a lower directory.
    static let followed = NameFlags(rawValue: 32)
    /// The layer has a device there that could not be made and was left out.
    static let leftOut = NameFlags(rawValue: 64)
    /// The layer has a device 0:0 there, which was taken for a deletion of the name.
    static let markDevice = NameFlags(rawValue: 128)
    /// An access list could not be set, and the mode gives less than the entry's: see `AccessLimit`.
    static let limited = NameFlags(rawValue: 256)
    /// A directory of this apply's own, which is gone at its end: no layer means it.
    static let isPrivate = NameFlags(rawValue: 512)
}

/// One name in one physical directory. 24 bytes: there is one for each entry of the archive. `ApplyTree` alone changes it.
struct NameRecord: BitwiseCopyable {
    let name: NameRef
    let parent: UInt32
    /// The directory's node, 0 while it has none.
    var child: UInt32 = 0
    let hash: UInt32
    var kind: EntryKind
    var flags: NameFlags
}

/// A name in a directory beneath the root: where something is to be made, looked at or removed. Only `ApplyTree` makes them.
struct NamePlace: BitwiseCopyable {
    /// The number of its record.
    let record: UInt32
    /// The directory's node.
    let node: UInt32
    let name: NameRef

    /// The place of the name that the tree has under a number.
    init(_ record: UInt32, in records: StableArray<NameRecord>) {
        self.record = record
        node = records[Int(record)].parent
        name = records[Int(record)].name
    }

    static func == (left: NamePlace, right: NamePlace) -> Bool { left.record == right.record }
    static func != (left: NamePlace, right: NamePlace) -> Bool { left.record != right.record }
}
