import LayerModel
import LinuxIO

struct NodeFlags: OptionSet, BitwiseCopyable {
    let rawValue: UInt16

    /// Made by this apply: every name inside has a record.
    static let fresh = NodeFlags(rawValue: 1)
    /// Removed, or below something removed.
    static let removed = NodeFlags(rawValue: 2)
    /// Something of this layer lies inside, or the layer names it.
    static let unpacked = NodeFlags(rawValue: 4)
    /// It has been looked at for what new files inherit from it.
    static let inspected = NodeFlags(rawValue: 8)
    /// New files inside get another group than the process's.
    static let givesGroup = NodeFlags(rawValue: 16)
    /// New files inside get access lists.
    static let givesAccessLists = NodeFlags(rawValue: 32)
    /// Times are to be set at the end.
    static let hasTimes = NodeFlags(rawValue: 64)
    /// The mode is to be set at the end: until then the owner may do everything.
    static let hasFinalMode = NodeFlags(rawValue: 128)
    /// Nothing of the lower directories shows through it.
    static let opaque = NodeFlags(rawValue: 256)
    /// What an earlier layer left marked here is known.
    static let marksAreKnown = NodeFlags(rawValue: 512)
    /// It is known to lie on the root's own mount.
    static let isOnRootsMount = NodeFlags(rawValue: 1024)
    /// Made only as a part of a path: no entry has said yet what it is.
    static let implied = NodeFlags(rawValue: 2048)
}

/// A real directory beneath the root, reached without following links.
struct DirectoryNode: BitwiseCopyable {
    var parent: UInt32 = 0
    /// The record of its name.
    var entry: UInt32 = 0
    /// Its place in the descriptor cache, or -1.
    var slot: Int32 = -1
    var flags: NodeFlags = []
    /// The lane that writes its files, and the last batch given to it.
    var lane: UInt16 = 0
    var lastBatch: UInt64 = 0
    var accessSeconds: Int64 = 0
    var modificationSeconds: Int64 = 0
    var accessNanoseconds: UInt32 = 0
    var modificationNanoseconds: UInt32 = 0
    var finalMode: UInt32 = 0
}

/// Where a directory lies.
extension ApplyTree {
    /// Whether a directory is gone, by itself or with one above it.
    func isRemoved(_ node: UInt32) -> Bool {
        var node = node
        while node != Self.rootNode {
            if nodes[Int(node)].flags.contains(.removed) { return true }
            node = nodes[Int(node)].parent
        }
        return false
    }

    /// Whether a directory is the one that lies under a name, or lies below it.
    func lies(_ node: UInt32, below place: NamePlace) -> Bool {
        var node = node
        while node != Self.rootNode {
            if nodes[Int(node)].entry == place.record { return true }
            node = nodes[Int(node)].parent
        }
        return false
    }

    /// Names that are there now because of this apply; for when it is known which directories are gone.
    var presentNames: UInt64 {
        var count: UInt64 = 0
        for index in 1..<max(1, records.count) {
            let record = records[index]
            guard !nodes[Int(record.parent)].flags.contains(.removed) else { continue }
            let isThere = record.kind != .unknown && !record.flags.isDisjoint(with: [.unpacked, .made])
            if isThere || record.flags.contains(.whiteout) { count += 1 }
        }
        return count
    }

    /// The path of a name beneath the root; for messages.
    func path(of place: NamePlace) -> PathBytes { path(of: place.name, in: place.node) }

    func path(of name: NameRef, in node: UInt32) -> PathBytes {
        let arena = arena
        var parts: [[UInt8]] = [arena[name].copied()]
        var current = node
        while current != Self.rootNode {
            parts.append(arena[records[Int(nodes[Int(current)].entry)].name].copied())
            current = nodes[Int(current)].parent
        }
        return PathBytes(Array(parts.reversed().joined(separator: [UInt8(ascii: "/")])))
    }
}
