import LayerModel
import LinuxIO

/// An open directory that several owners share: the cache, and every batch still to be written into it.
final class DirectoryHandle: Sendable {
    let descriptor: OwnedDescriptor
    init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }
}

/// What is known of a name in a directory.
struct NameFlags: OptionSet, BitwiseCopyable {
    let rawValue: UInt8

    /// `kind` says what lies on disk; `.unknown` then means nothing.
    static let known = NameFlags(rawValue: 1)
    /// This layer put it there (layer-archive.md 3.5 step 7).
    static let unpacked = NameFlags(rawValue: 2)
    /// This layer's whiteout of the name lies on disk.
    static let whiteout = NameFlags(rawValue: 4)
    /// A hard link to a name that is still to come.
    static let deferred = NameFlags(rawValue: 8)
    /// This apply made it, though the layer did not ask for it: an implied directory, a copy of a lower entry.
    static let made = NameFlags(rawValue: 16)
}

/// One name in one physical directory. 24 bytes: there is one for each entry of the archive.
struct NameRecord: BitwiseCopyable {
    var name: NameRef
    var parent: UInt32
    /// The directory's node, 0 while it has none.
    var child: UInt32
    var hash: UInt32
    var kind: EntryKind
    var flags: NameFlags
}

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

/// All directories and names that an apply has met, and the descriptors open on some of them.
///
/// Names are looked up by (directory, name), never by path: two paths that lead to one directory through links are
/// one node, and what becomes of a removed directory's contents needs no search (A15, A27).
final class ApplyTree {
    let arena: NameArena
    let records: StableArray<NameRecord>
    let nodes: StableArray<DirectoryNode>
    private var slots: [UInt32]
    private var recordCount = 1

    private let root: DirectoryHandle
    private var cache: [DirectoryHandle?]
    private var cachedNode: [UInt32]
    private var recentlyUsed: [Bool]
    private var hand = 0
    private var chain: [UInt32] = []
    var opens: UInt64 = 0

    /// The root's node.
    static let rootNode: UInt32 = 0
    /// Directories kept open. Far below the usual limit of 1,024 descriptors; a layer is nearly always written
    /// depth first, where a hundred would do.
    private static let cacheSize = 256

    /// A tree that knows nothing but its root, whose descriptor is duplicated.
    init(root: borrowing OwnedDescriptor) throws(LayerError) {
        arena = try NameArena()
        records = try StableArray(limit: 1 << 28)
        nodes = try StableArray(limit: 1 << 27)
        slots = [UInt32](repeating: 0, count: 1 << 10)
        do throws(SystemCallError) {
            self.root = DirectoryHandle(try root.duplicate())
        } catch {
            throw LayerError(error, "apply", path: nil)
        }
        cache = [DirectoryHandle?](repeating: nil, count: Self.cacheSize)
        cachedNode = [UInt32](repeating: 0, count: Self.cacheSize)
        recentlyUsed = [Bool](repeating: false, count: Self.cacheSize)
        // Record 0 and node 0 are the root's.
        _ = try records.reserve(1)
        let name = try arena.append(".".utf8Bytes.rawBytes)
        records[0] = NameRecord(name: name, parent: 0, child: 0, hash: 0, kind: .directory, flags: .known)
        _ = try nodes.reserve(1)
        nodes[0] = DirectoryNode()
    }

    // MARK: names

    /// The record of `name` in `parent`, made if there is none.
    func record(of name: RawSpan, in parent: UInt32) throws(LayerError) -> UInt32 {
        let arena = arena
        let hash = keyedHash(name, in: parent)
        var slot = Int(hash) & (slots.count - 1)
        while slots[slot] != 0 {
            let index = slots[slot]
            let record = records[Int(index)]
            if record.hash == hash, record.parent == parent, bytesEqual(arena[record.name], name) { return index }
            slot = (slot + 1) & (slots.count - 1)
        }
        let index = try records.reserve(1)
        records[index] = NameRecord(
            name: try arena.append(name), parent: parent, child: 0, hash: hash, kind: .unknown,
            flags: nodes[Int(parent)].flags.contains(.fresh) ? .known : [])
        slots[slot] = UInt32(index)
        recordCount += 1
        if recordCount * 3 > slots.count * 2 { grow() }
        return UInt32(index)
    }

    /// The record of `name` in `parent`, or nil where none was made.
    func existingRecord(of name: RawSpan, in parent: UInt32) -> UInt32? {
        let arena = arena
        let hash = keyedHash(name, in: parent)
        var slot = Int(hash) & (slots.count - 1)
        while slots[slot] != 0 {
            let record = records[Int(slots[slot])]
            if record.hash == hash, record.parent == parent, bytesEqual(arena[record.name], name) {
                return slots[slot]
            }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }

    private func grow() {
        var larger = [UInt32](repeating: 0, count: slots.count * 2)
        for index in slots where index != 0 {
            var slot = Int(records[Int(index)].hash) & (larger.count - 1)
            while larger[slot] != 0 { slot = (slot + 1) & (larger.count - 1) }
            larger[slot] = index
        }
        slots = larger
    }

    /// A node for the directory that a record names.
    func makeNode(_ entry: UInt32, flags: NodeFlags) throws(LayerError) -> UInt32 {
        let index = try nodes.reserve(1)
        var node = DirectoryNode()
        node.parent = records[Int(entry)].parent
        node.entry = entry
        node.flags = flags
        nodes[index] = node
        records[Int(entry)].child = UInt32(index)
        return UInt32(index)
    }

    /// Notes that this layer has something in `node`: it and its ancestors are not the lower layers' any more (A27).
    func markUnpacked(_ node: UInt32) {
        var node = node
        while !nodes[Int(node)].flags.contains(.unpacked) {
            nodes[Int(node)].flags.insert(.unpacked)
            records[Int(nodes[Int(node)].entry)].flags.insert(.unpacked)
            node = nodes[Int(node)].parent
        }
    }

    // MARK: descriptors

    /// The node's open directory.
    func handle(_ node: UInt32) throws(SystemCallError) -> DirectoryHandle {
        if node == Self.rootNode { return root }
        let slot = nodes[Int(node)].slot
        if slot >= 0, let handle = cache[Int(slot)] {
            recentlyUsed[Int(slot)] = true
            return handle
        }
        return try reopen(node)
    }

    /// Opens a directory from its nearest open ancestor, one component at a time.
    private func reopen(_ node: UInt32) throws(SystemCallError) -> DirectoryHandle {
        let arena = arena
        chain.removeAll(keepingCapacity: true)
        var current = node
        while current != Self.rootNode, nodes[Int(current)].slot < 0 {
            chain.append(current)
            current = nodes[Int(current)].parent
        }
        var handle = current == Self.rootNode ? root : cache[Int(nodes[Int(current)].slot)] ?? root
        for next in chain.reversed() {
            let name = records[Int(nodes[Int(next)].entry)].name
            opens += 1
            let opened = try handle.descriptor.open(arena.pointer(name), [.pathOnly, .directory, .noFollow])
            handle = DirectoryHandle(opened)
            keep(handle, for: next)
        }
        return handle
    }

    /// Puts a handle into the cache, in place of one not used lately.
    private func keep(_ handle: DirectoryHandle, for node: UInt32) {
        while recentlyUsed[hand] {
            recentlyUsed[hand] = false
            hand = (hand + 1) % Self.cacheSize
        }
        if cache[hand] != nil { nodes[Int(cachedNode[hand])].slot = -1 }
        cache[hand] = handle
        cachedNode[hand] = node
        recentlyUsed[hand] = true
        nodes[Int(node)].slot = Int32(hand)
        hand = (hand + 1) % Self.cacheSize
    }

    /// Forgets a removed directory. What lay below it cannot be reached any more, since names are looked up from
    /// the root down.
    func forget(_ node: UInt32) {
        nodes[Int(node)].flags.insert(.removed)
        let slot = nodes[Int(node)].slot
        if slot >= 0 {
            cache[Int(slot)] = nil
            recentlyUsed[Int(slot)] = false
            nodes[Int(node)].slot = -1
        }
    }

    // MARK: paths

    /// The path of a name beneath the root; for messages.
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

extension String {
    /// The text as UTF-8 bytes.
    var utf8Bytes: [UInt8] { Array(utf8) }
}
