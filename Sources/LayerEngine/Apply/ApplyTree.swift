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
}

/// One name in one physical directory. 24 bytes: there is one for each entry of the archive.
///
/// What lies under it changes by the methods of `ApplyTree` alone, which see to it that nobody goes on believing in
/// paths that led through it.
struct NameRecord: BitwiseCopyable {
    let name: NameRef
    let parent: UInt32
    /// The directory's node, 0 while it has none.
    fileprivate(set) var child: UInt32
    let hash: UInt32
    fileprivate(set) var kind: EntryKind
    fileprivate(set) var flags: NameFlags

    fileprivate init(_ name: NameRef, in parent: UInt32, hash: UInt32, kind: EntryKind, flags: NameFlags) {
        self.name = name
        self.parent = parent
        self.hash = hash
        self.kind = kind
        self.flags = flags
        child = 0
    }
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
    /// Grows whenever a path that was found before may lead elsewhere: something that it led through was removed,
    /// replaced, deleted or hidden.
    private(set) var generation: UInt64 = 0

    /// The root's node.
    static let rootNode: UInt32 = 0
    /// Directories kept open where there are descriptors enough; a layer is nearly always written depth first, where a
    /// hundred would do.
    static let cacheSize = 256

    /// A tree that knows nothing but its root, whose descriptor is duplicated, and keeps at most `directories` open.
    init(root: borrowing OwnedDescriptor, directories: Int) throws(LayerError) {
        arena = try NameArena()
        records = try StableArray(limit: 1 << 28)
        nodes = try StableArray(limit: 1 << 27)
        slots = [UInt32](repeating: 0, count: 1 << 10)
        do throws(SystemCallError) {
            self.root = DirectoryHandle(try root.duplicate())
        } catch {
            throw LayerError(error, "apply", path: nil)
        }
        cache = [DirectoryHandle?](repeating: nil, count: directories)
        cachedNode = [UInt32](repeating: 0, count: directories)
        recentlyUsed = [Bool](repeating: false, count: directories)
        // Record 0 and node 0 are the root's.
        _ = try records.reserve(1)
        let name = try arena.append(".".utf8Bytes.rawBytes)
        records[0] = NameRecord(name, in: 0, hash: 0, kind: .directory, flags: .known)
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
            try arena.append(name), in: parent, hash: hash, kind: .unknown,
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

    // MARK: what lies under a name

    /// Notes what a look at the disk found under a name; `isDeleted` where that is a whiteout.
    func look(at record: UInt32, found kind: EntryKind, isDeleted: Bool) {
        records[Int(record)].kind = isDeleted ? .unknown : kind
        records[Int(record)].flags.formUnion(isDeleted ? [.known, .whiteout] : .known)
    }

    /// Notes that a path was led through the link of this name.
    func follow(_ record: UInt32) { records[Int(record)].flags.insert(.followed) }

    /// Something new lies under a name that was free; `how` is `.unpacked` or `.made`.
    func put(_ kind: EntryKind, at record: UInt32, _ how: NameFlags) {
        change(record, to: kind, [.known, how])
    }

    /// Nothing lies under a name any more. A directory is forgotten with all below it, which cannot be reached any
    /// more, since names are looked up from the root down.
    func clear(_ record: UInt32) {
        let child = records[Int(record)].child
        if child != 0 {
            nodes[Int(child)].flags.insert(.removed)
            dropHandle(of: child)
            records[Int(record)].child = 0
        }
        change(record, to: .unknown, .known)
    }

    /// A whiteout lies under a name that was free.
    func delete(_ record: UInt32) { change(record, to: .unknown, [.known, .whiteout]) }

    /// A hard link that cannot be made yet will lie under a name that is free.
    func awaitLink(_ record: UInt32) { change(record, to: .unknown, [.known, .deferred]) }

    /// The name of a device that is left out; it is free, or deleted.
    func leaveOut(_ record: UInt32) { records[Int(record)].flags.formUnion([.known, .leftOut]) }

    /// The name of a device 0:0, which is deleted.
    func takeForMark(_ record: UInt32) { records[Int(record)].flags.insert(.markDevice) }

    /// What lies under the name has a mode that gives less than its entry says.
    func limit(_ record: UInt32) { records[Int(record)].flags.insert(.limited) }

    /// Nothing of the lower directories shows in a directory any more.
    func makeOpaque(_ node: UInt32) {
        nodes[Int(node)].flags.insert(.opaque)
        generation &+= 1
    }

    /// The one way in which what lies under a name changes.
    private func change(_ record: UInt32, to kind: EntryKind, _ flags: NameFlags) {
        let old = records[Int(record)]
        if old.flags.contains(.followed) || old.kind == .directory || old.kind == .symbolicLink { generation &+= 1 }
        records[Int(record)].kind = kind
        records[Int(record)].flags = flags
    }

    // MARK: directories

    /// A node for the directory that a record names.
    func makeNode(_ entry: UInt32, flags: NodeFlags) throws(LayerError) -> UInt32 {
        let index = try nodes.reserve(1)
        var node = DirectoryNode()
        node.parent = records[Int(entry)].parent
        node.entry = entry
        node.flags = flags
        nodes[index] = node
        precondition(records[Int(entry)].kind == .directory && records[Int(entry)].child == 0)
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
            handle = DirectoryHandle(try open(name, in: handle))
            keep(handle, for: next)
        }
        return handle
    }

    /// Opens a directory. Where the process has no descriptor left, those kept open are given up, and those are waited for
    /// that the writers hold.
    private func open(_ name: NameRef, in handle: DirectoryHandle) throws(SystemCallError) -> OwnedDescriptor {
        let arena = arena
        var patience = DescriptorPatience()
        while true {
            do throws(SystemCallError) {
                return try handle.descriptor.open(arena.pointer(name), [.pathOnly, .directory, .noFollow])
            } catch {
                guard error.isOutOfDescriptors else { throw error }
                for slot in cache.indices where cache[slot] != nil { dropHandle(of: cachedNode[slot]) }
                guard patience.wait() else { throw error }
            }
        }
    }

    /// Puts a handle into the cache, in place of one not used lately.
    private func keep(_ handle: DirectoryHandle, for node: UInt32) {
        while recentlyUsed[hand] {
            recentlyUsed[hand] = false
            hand = (hand + 1) % cache.count
        }
        if cache[hand] != nil { nodes[Int(cachedNode[hand])].slot = -1 }
        cache[hand] = handle
        cachedNode[hand] = node
        recentlyUsed[hand] = true
        nodes[Int(node)].slot = Int32(hand)
        hand = (hand + 1) % cache.count
    }

    private func dropHandle(of node: UInt32) {
        let slot = nodes[Int(node)].slot
        guard slot >= 0 else { return }
        cache[Int(slot)] = nil
        recentlyUsed[Int(slot)] = false
        nodes[Int(node)].slot = -1
    }
}

extension String {
    /// The text as UTF-8 bytes.
    var utf8Bytes: [UInt8] { Array(utf8) }
}
