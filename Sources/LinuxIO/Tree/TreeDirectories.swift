public import LayerModel

/// One directory of a tree on which several threads work.
struct TreeDirectory: BitwiseCopyable, Sendable {
    /// The directory above; `TreeDirectories.none` for the root.
    var parent: UInt32
    var name: NameRef
    var depth: UInt32
    /// It was there before the work began.
    var existed = false
}

/// The directories met so far, by number; 0 is the root. Records are written once, by the thread that adds them, and
/// read by others after they were handed over.
final class TreeDirectories: Sendable {
    let names: NameArena
    let records: StableArray<TreeDirectory>

    static let none = UInt32.max
    static let root: UInt32 = 0

    init() throws(LayerError) {
        names = try NameArena()
        records = try StableArray(limit: 100_000_000)
        try begin()
    }

    /// Forgets all directories, so that another tree's can be noted; nobody may use them any more.
    func restart() throws(LayerError) {
        names.removeAll()
        records.removeAll()
        try begin()
    }

    private func begin() throws(LayerError) {
        // Offset 0 of the names is the empty name.
        _ = try names.append(RawSpan())
        records[try records.reserve(1)] = TreeDirectory(parent: Self.none, name: .empty, depth: 0)
    }

    func add(_ name: RawSpan, in parent: UInt32, existed: Bool = false) throws(LayerError) -> UInt32 {
        let reference = try names.append(name)
        let index = try records.reserve(1)
        records[index] = TreeDirectory(
            parent: parent, name: reference, depth: records[Int(parent)].depth + 1, existed: existed)
        return UInt32(index)
    }

    /// The path of a directory below `root`, and of a name in it; for messages.
    func path(_ root: PathBytes?, _ directory: UInt32, _ name: [UInt8] = []) -> PathBytes {
        var parts: [[UInt8]] = name.isEmpty ? [] : [name]
        var current = directory
        let names = names
        while records[Int(current)].parent != Self.none {
            parts.append(names[records[Int(current)].name].copied())
            current = records[Int(current)].parent
        }
        if let root { parts.append(root.bytes) }
        return PathBytes(Array(parts.reversed().joined(separator: [UInt8(ascii: "/")])))
    }
}

/// Opens the directories of a table beneath one root, and keeps the last few open: a walk that goes down and up costs
/// about one open a directory. One per worker. Links on the way are refused (ELOOP).
struct TreeOpener: ~Copyable {
    private let table: TreeDirectories
    private var root: SharedDescriptor
    /// Whether mount points are refused (EXDEV).
    private let staysInMount: Bool
    private var kept = KeptDirectories(count: Self.cacheSize)
    private(set) var opens: UInt64 = 0

    /// Descriptors kept open, by depth: on the way down the ancestors of the current directory stay.
    static let cacheSize = 32
    init(_ table: TreeDirectories, root: SharedDescriptor, staysInMount: Bool = false) {
        self.table = table
        self.root = root
        self.staysInMount = staysInMount
    }

    /// The directory, if it is open.
    func cached(_ index: UInt32) -> SharedDescriptor? {
        if index == TreeDirectories.root { return root }
        return kept.directory(index, at: Int(table.records[Int(index)].depth))
    }

    /// Closes what is open, and begins with another root; the table's records have changed.
    mutating func restart(root: SharedDescriptor) {
        self.root = root
        kept.closeAll()
    }

    mutating func keep(_ index: UInt32, _ directory: SharedDescriptor) {
        guard index != TreeDirectories.root else { return }
        kept.keep(directory, index, at: Int(table.records[Int(index)].depth))
    }

    /// The directory, opened now or still open.
    mutating func handle(_ index: UInt32) throws(SystemCallError) -> SharedDescriptor {
        if let directory = cached(index) { return directory }
        let directory = SharedDescriptor(try open(index))
        keep(index, directory)
        return directory
    }

    private mutating func open(_ index: UInt32) throws(SystemCallError) -> OwnedDescriptor {
        opens += 1
        let record = table.records[Int(index)]
        let names = table.names
        // The parent is at hand: one component, no path walk.
        if let parent = cached(record.parent) {
            let flags: OpenFlags = [.readOnly, .directory, .noFollow]
            guard staysInMount else { return try parent.descriptor.open(names.pointer(record.name), flags) }
            return try parent.descriptor.open(names.pointer(record.name), flags, resolve: resolve)
        }
        var chain: [NameRef] = []
        var current = index
        while current != TreeDirectories.root {
            chain.append(table.records[Int(current)].name)
            current = table.records[Int(current)].parent
        }
        var path: [UInt8] = []
        return try root.descriptor.openDirectory(below: &chain, names, &path, resolve: resolve)
    }

    private var resolve: ResolveFlags {
        staysInMount ? [.noSymlinks, .beneath, .noCrossing] : [.noSymlinks, .beneath]
    }
}

extension OwnedDescriptor {
    /// Longest path given to one openat2: PATH_MAX less room for the terminator and one component.
    private static var longestPath: Int { 3_800 }

    /// Opens the directory that lies below this one at the path of `chain`, whose names stand in reverse and are used up, in as
    /// few calls as the length of paths allows; itself for an empty one. `path` is room that may be used again.
    public func openDirectory(
        below chain: inout [NameRef], _ names: NameArena, _ path: inout [UInt8], resolve: ResolveFlags
    ) throws(SystemCallError) -> OwnedDescriptor {
        guard !chain.isEmpty else { return try open(NamePointer("."), [.readOnly, .directory]) }
        path.removeAll(keepingCapacity: true)
        while let next = chain.last, path.count < Self.longestPath {
            if !path.isEmpty { path.append(UInt8(ascii: "/")) }
            let name = names[next]
            for position in 0..<name.byteCount { path.append(name[position]) }
            chain.removeLast()
        }
        path.append(0)
        let opened = try open(
            NamePointer(terminated: path.rawBytes), [.readOnly, .directory, .noFollow], resolve: resolve)
        return chain.isEmpty ? opened : try opened.openDirectory(below: &chain, names, &path, resolve: resolve)
    }
}
