import LayerModel
import LinuxIO

/// All directories and names that an apply has met, and the descriptors open on some of them.
///
/// Names are looked up by (directory, name), never by path: two paths that lead to one directory through links are
/// one node, and what becomes of a removed directory's contents needs no search. What lies under a name changes by the
/// methods here alone, which see to it that nobody goes on believing in paths that led through it.
final class ApplyTree {
    let arena: NameArena
    let records: StableArray<NameRecord>
    let nodes: StableArray<DirectoryNode>
    private var slots: [UInt32]
    private var recordCount = 1
    private var open: OpenDirectories
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
        open = try OpenDirectories(root: root, limit: directories)
        // Record 0 and node 0 are the root's.
        _ = try records.reserve(1)
        let name = try arena.append(".".utf8Bytes.rawBytes)
        records[0] = NameRecord(name: name, parent: 0, hash: 0, kind: .directory, flags: .known)
        _ = try nodes.reserve(1)
        nodes[0] = DirectoryNode()
    }

    // MARK: names

    /// The place of `name` in `parent`, noted if it was not met before.
    func place(of name: RawSpan, in parent: UInt32) throws(LayerError) -> NamePlace {
        let arena = arena
        let hash = keyedHash(name, in: parent)
        var slot = Int(hash) & (slots.count - 1)
        while slots[slot] != 0 {
            let index = slots[slot]
            let record = records[Int(index)]
            if record.hash == hash, record.parent == parent, bytesEqual(arena[record.name], name) {
                return NamePlace(index, in: records)
            }
            slot = (slot + 1) & (slots.count - 1)
        }
        let index = try records.reserve(1)
        records[index] = NameRecord(
            name: try arena.append(name), parent: parent, hash: hash, kind: .unknown,
            flags: nodes[Int(parent)].flags.contains(.fresh) ? .known : [])
        slots[slot] = UInt32(index)
        recordCount += 1
        if recordCount * 3 > slots.count * 2 { grow() }
        return NamePlace(UInt32(index), in: records)
    }

    /// The place of `name` in `parent`, or nil where it was not met before.
    func knownPlace(of name: RawSpan, in parent: UInt32) -> NamePlace? {
        let arena = arena
        let hash = keyedHash(name, in: parent)
        var slot = Int(hash) & (slots.count - 1)
        while slots[slot] != 0 {
            let record = records[Int(slots[slot])]
            if record.hash == hash, record.parent == parent, bytesEqual(arena[record.name], name) {
                return NamePlace(slots[slot], in: records)
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

    /// What was found or put there.
    func kind(_ place: NamePlace) -> EntryKind { records[Int(place.record)].kind }

    func flags(_ place: NamePlace) -> NameFlags { records[Int(place.record)].flags }

    /// The node of the directory that lies there; nil where there is none, or none was entered.
    func directory(_ place: NamePlace) -> UInt32? {
        let child = records[Int(place.record)].child
        return child == 0 ? nil : child
    }

    /// Notes what a look at the disk found under a name; `isDeleted` where that is a whiteout.
    func look(at place: NamePlace, found kind: EntryKind, isDeleted: Bool) {
        records[Int(place.record)].kind = isDeleted ? .unknown : kind
        records[Int(place.record)].flags.formUnion(isDeleted ? [.known, .whiteout] : .known)
    }

    /// Notes that a path was led through the link of this name.
    func follow(_ place: NamePlace) { records[Int(place.record)].flags.insert(.followed) }

    /// Something new lies under a name that was free; `how` is `.unpacked` or `.made`.
    func put(_ kind: EntryKind, at place: NamePlace, _ how: NameFlags) {
        change(place, to: kind, how.union(.known))
    }

    /// Nothing lies under a name any more. A directory is forgotten with all below it, which cannot be reached any
    /// more, since names are looked up from the root down.
    func clear(_ place: NamePlace) {
        if let child = directory(place) {
            nodes[Int(child)].flags.insert(.removed)
            open.drop(child, of: self)
            records[Int(place.record)].child = 0
        }
        change(place, to: .unknown, .known)
    }

    /// A whiteout lies under a name that was free.
    func delete(_ place: NamePlace) { change(place, to: .unknown, [.known, .whiteout]) }

    /// A hard link that cannot be made yet will lie under a name that is free.
    func awaitLink(_ place: NamePlace) { change(place, to: .unknown, [.known, .deferred]) }

    /// The name of a device that is left out; it is free, or deleted.
    func leaveOut(_ place: NamePlace) { records[Int(place.record)].flags.formUnion([.known, .leftOut]) }

    /// The name of a device 0:0, which is deleted.
    func takeForMark(_ place: NamePlace) { records[Int(place.record)].flags.insert(.markDevice) }

    /// What lies under the name has a mode that gives less than its entry says.
    func limit(_ place: NamePlace) { records[Int(place.record)].flags.insert(.limited) }

    /// Nothing of the lower directories shows in a directory any more.
    func makeOpaque(_ node: UInt32) {
        nodes[Int(node)].flags.insert(.opaque)
        generation &+= 1
    }

    /// The one way in which what lies under a name changes.
    private func change(_ place: NamePlace, to kind: EntryKind, _ flags: NameFlags) {
        let old = records[Int(place.record)]
        if old.flags.contains(.followed) || old.kind == .directory || old.kind == .symbolicLink { generation &+= 1 }
        records[Int(place.record)].kind = kind
        records[Int(place.record)].flags = flags
    }

    // MARK: directories

    /// Where the name of a directory lies.
    func place(ofDirectory node: UInt32) -> NamePlace { NamePlace(nodes[Int(node)].entry, in: records) }

    /// A node for the directory that lies under a name.
    func makeNode(_ place: NamePlace, flags: NodeFlags) throws(LayerError) -> UInt32 {
        let index = try nodes.reserve(1)
        var node = DirectoryNode()
        node.parent = place.node
        node.entry = place.record
        node.flags = flags
        nodes[index] = node
        precondition(kind(place) == .directory && directory(place) == nil)
        records[Int(place.record)].child = UInt32(index)
        return UInt32(index)
    }

    func flags(ofDirectory node: UInt32) -> NodeFlags { nodes[Int(node)].flags }

    func mark(_ node: UInt32, _ flag: NodeFlags, _ isSet: Bool = true) {
        if isSet { nodes[Int(node)].flags.formUnion(flag) } else { nodes[Int(node)].flags.subtract(flag) }
    }

    /// Notes that this layer has something in `node`: it and its ancestors are not the lower layers' any more.
    func markUnpacked(_ node: UInt32) {
        var node = node
        while !nodes[Int(node)].flags.contains(.unpacked) {
            nodes[Int(node)].flags.insert(.unpacked)
            records[Int(nodes[Int(node)].entry)].flags.insert(.unpacked)
            node = nodes[Int(node)].parent
        }
    }

    /// Sets a directory's times once everything in it is made.
    func setTimesAtEnd(_ node: UInt32, _ times: FileTimes) {
        nodes[Int(node)].flags.insert(.hasTimes)
        nodes[Int(node)].accessSeconds = times.access.seconds
        nodes[Int(node)].accessNanoseconds = times.access.nanoseconds
        nodes[Int(node)].modificationSeconds = times.modification.seconds
        nodes[Int(node)].modificationNanoseconds = times.modification.nanoseconds
    }

    /// The node's open directory.
    func handle(_ node: UInt32) throws(SystemCallError) -> SharedDescriptor { try open.handle(node, of: self) }

    /// Closes every directory but the root, for a pause of unknown length.
    func closeDirectories() { open.closeAll(of: self) }

    /// Directories opened so far.
    var opens: UInt64 { open.opens }
}

extension String {
    /// The text as UTF-8 bytes.
    var utf8Bytes: [UInt8] { Array(utf8) }
}
