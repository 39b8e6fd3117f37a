import LayerModel

/// A layer's tree: names, inodes and directories in tables, found by (directory, name).
///
/// Two paths that lead to one directory through links are one node. Nothing that was added is ever taken out: a name that
/// is cleared has nothing under it, and what lies below a removed directory cannot be reached any more.
struct PackTree: ~Copyable {
    var arena = ByteArena()
    var names = Table<PackName>()
    var inodes = Table<PackInode>()
    var directories = Table<PackDirectory>()
    var attributes = Table<AttributePlace>()
    private var slots = [UInt32](repeating: 0, count: 1 << 8)
    /// Grows whenever a path that was found before may lead elsewhere.
    private(set) var generation: UInt64 = 0

    static let root: UInt32 = 0

    init() {
        // Name, inode and directory 0 are the root's; inode 0 and attributes 0 stand for none elsewhere.
        _ = names.append(
            PackName(name: 0, parent: 0, next: 0, inode: 0, hash: 0, length: 0, kind: .directory, flags: []))
        var root = PackInode()
        root.mode = UInt16(EntryKind.directory.modeBits | 0o755)
        _ = inodes.append(root)
        _ = directories.append(PackDirectory())
        _ = attributes.append(AttributePlace(place: 0, count: 0))
    }

    // MARK: names

    /// The bytes of a name.
    @_lifetime(borrow self)
    func text(_ name: UInt32) -> RawSpan { arena.span(names[name].name, Int(names[name].length)) }

    /// The record of `name` in `parent`, made if there is none.
    mutating func name(_ name: RawSpan, in parent: UInt32) throws(PackFull) -> UInt32 {
        let hash = Self.hash(name, in: parent)
        var slot = Int(hash) & (slots.count - 1)
        while slots[slot] != 0 {
            if isSame(slots[slot], hash, name, in: parent) { return slots[slot] }
            slot = (slot + 1) & (slots.count - 1)
        }
        precondition(name.byteCount > 0 && name.byteCount <= ErofsFormat.longestName, "no name of a file")
        guard let place = arena.append(name) else { throw PackFull() }
        let index = names.append(
            PackName(
                name: place, parent: parent, next: directories[parent].firstChild, inode: 0, hash: hash,
                length: UInt8(name.byteCount), kind: .unknown, flags: []))
        directories[parent].firstChild = index
        slots[slot] = index
        if names.count * 3 > slots.count * 2 { grow() }
        return index
    }

    /// The record of `name` in `parent`, or nil where none was made.
    func existingName(_ name: RawSpan, in parent: UInt32) -> UInt32? {
        let hash = Self.hash(name, in: parent)
        var slot = Int(hash) & (slots.count - 1)
        while slots[slot] != 0 {
            if isSame(slots[slot], hash, name, in: parent) { return slots[slot] }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }

    @inline(__always)
    private func isSame(_ index: UInt32, _ hash: UInt32, _ name: RawSpan, in parent: UInt32) -> Bool {
        let known = names[index]
        return known.hash == hash && known.parent == parent
            && bytesEqual(arena.span(known.name, Int(known.length)), name)
    }

    /// Keyed at random by the process, so that nobody can choose names that collide.
    private static func hash(_ name: RawSpan, in parent: UInt32) -> UInt32 {
        var hasher = Hasher()
        hasher.combine(UInt64(parent) << 32 | UInt64(name.byteCount))
        var position = 0
        while position + 8 <= name.byteCount {
            hasher.combine(name.number64(position))
            position += 8
        }
        var rest: UInt64 = 0
        while position < name.byteCount {
            rest = rest << 8 | UInt64(name[position])
            position += 1
        }
        hasher.combine(rest)
        return UInt32(truncatingIfNeeded: hasher.finalize())
    }

    private mutating func grow() {
        var larger = [UInt32](repeating: 0, count: slots.count * 2)
        for index in slots where index != 0 {
            var slot = Int(names[index].hash) & (larger.count - 1)
            while larger[slot] != 0 { slot = (slot + 1) & (larger.count - 1) }
            larger[slot] = index
        }
        slots = larger
    }

    /// Gives back the memory that only looking names up needs.
    mutating func endLookups() { slots = [0] }

    // MARK: what lies under a name

    /// The node of the directory under a name, nil where it is none.
    func directory(_ name: UInt32) -> UInt32? {
        guard names[name].kind == .directory else { return nil }
        return inodes[names[name].inode].content
    }

    /// The directory's own inode.
    func inode(of node: UInt32) -> UInt32 { names[directories[node].name].inode }

    /// Puts an inode under a name that is free.
    mutating func put(_ inode: UInt32, at name: UInt32, _ flags: NameFlags) {
        change(name, to: inodes[inode].kind, inode, flags)
    }

    /// Nothing lies under a name any more; a directory goes with all below it.
    mutating func clear(_ name: UInt32) {
        if let node = directory(name) { directories[node].flags.insert(.removed) }
        change(name, to: .unknown, 0, [])
    }

    /// Puts a whiteout under a name that is free.
    mutating func delete(_ name: UInt32, _ inode: UInt32) {
        change(name, to: .unknown, inode, .whiteout)
        addStray(in: names[name].parent)
    }

    /// A hard link that cannot be made yet will lie under a name that is free.
    mutating func awaitLink(_ name: UInt32) { change(name, to: .unknown, 0, .deferred) }

    mutating func mark(_ name: UInt32, _ flag: NameFlags) { names[name].flags.insert(flag) }

    /// Nothing of the lower directories shows in a directory any more.
    mutating func makeOpaque(_ node: UInt32) {
        directories[node].flags.insert(.opaque)
        generation &+= 1
    }

    private mutating func change(_ name: UInt32, to kind: EntryKind, _ inode: UInt32, _ flags: NameFlags) {
        let old = names[name]
        if old.flags.contains(.followed) || old.kind == .directory || old.kind == .symbolicLink { generation &+= 1 }
        names[name].kind = kind
        names[name].inode = inode
        names[name].flags = flags
    }

    // MARK: directories

    /// Makes a directory under a name that is free. `inode` is what its entry says of it.
    mutating func makeDirectory(_ inode: PackInode, at name: UInt32, _ flags: NodeFlags) -> UInt32 {
        var inode = inode
        var directory = PackDirectory()
        directory.parent = names[name].parent
        directory.name = name
        directory.flags = flags
        inode.content = directories.append(directory)
        put(inodes.append(inode), at: name, [])
        // Until the layer names it, or something inside.
        addStray(in: names[name].parent)
        return inode.content
    }

    /// Makes a directory that no name leads to.
    mutating func makeDirectoryAside() -> UInt32 { directories.append(PackDirectory()) }

    /// Notes that this layer has something in `node`: it and its ancestors are not the lower layers' any more.
    mutating func markUnpacked(_ node: UInt32) {
        var node = node
        while !directories[node].flags.contains(.unpacked) {
            directories[node].flags.insert(.unpacked)
            names[directories[node].name].flags.insert(.unpacked)
            node = directories[node].parent
        }
    }

    private mutating func addStray(in node: UInt32) {
        var node = node
        while !directories[node].flags.contains(.hasStrays) {
            directories[node].flags.insert(.hasStrays)
            node = directories[node].parent
        }
    }

    /// Whether a directory is gone, by itself or with one above it.
    func isRemoved(_ node: UInt32) -> Bool {
        var node = node
        while node != Self.root {
            if directories[node].flags.contains(.removed) { return true }
            node = directories[node].parent
        }
        return false
    }

    /// Whether a directory is the one that a name has, or lies below it.
    func lies(_ node: UInt32, below name: UInt32) -> Bool {
        var node = node
        while node != Self.root {
            if directories[node].name == name { return true }
            node = directories[node].parent
        }
        return false
    }

    /// Whether nothing of the lower directories shows in a directory, by its own mark or by one above; a mark of the root
    /// counts for nobody.
    func isBelowOpaque(_ node: UInt32) -> Bool {
        var node = node
        while node != Self.root {
            if directories[node].flags.contains(.opaque) { return true }
            node = directories[node].parent
        }
        return false
    }

    /// The path of a name beneath the root; for messages and the record.
    func path(_ name: UInt32) -> PathBytes {
        var parts: [[UInt8]] = []
        var current = name
        while current != 0 {
            parts.append(text(current).copied())
            current = directories[names[current].parent].name
        }
        return PathBytes(Array(parts.reversed().joined(separator: [UInt8(ascii: "/")])))
    }
}

/// More names than 32 bits can number, or 4 GiB of them.
struct PackFull: Error {}
