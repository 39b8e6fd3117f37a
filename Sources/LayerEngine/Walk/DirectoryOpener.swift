import Glibc
import LayerModel
import LinuxIO

/// An open directory that several may look into; closed when nobody holds it any more.
final class OpenDirectory {
    let descriptor: OwnedDescriptor
    init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }
}

/// Opens physical directories beneath their roots, keeping the last few open so that a tree walk costs about one
/// open a directory. One per worker.
struct DirectoryOpener: ~Copyable {
    private let store: TreeStore
    private let names: NameArena
    private let roots: LayerRoots
    /// Opened directories by depth: on a depth-first way the ancestors of the current one stay cached.
    private var cache: [Slot]
    private struct Slot {
        var index = noIndex
        var directory: OpenDirectory?
    }
    private var path: [UInt8] = []
    private var chain: [UInt32] = []
    var opens: UInt64 = 0

    /// Layers whose directories of one depth are kept side by side: both sides of a comparison and two more, or all
    /// layers of a tall stack, since every name is looked up in one after the other.
    private let layersKept: Int
    /// Descriptors kept open per worker at most: 32 levels of few layers, two of many.
    private static let cacheSize = 128
    static let largeCacheSize = 256
    /// Longest path given to one openat2: PATH_MAX less room for the terminator and one component.
    private static let longestPath = 3_800

    init(store: TreeStore, roots: LayerRoots, directories: Int) {
        self.store = store
        self.roots = roots
        names = store.names
        let isTall = roots.count > 4
        let size = min(directories, isTall ? Self.largeCacheSize : Self.cacheSize)
        layersKept = max(1, isTall ? min(roots.count, size / 2) : min(4, size / 2))
        cache = [Slot](repeating: Slot(), count: size)
    }

    /// Keeps an opened directory, so that directories in it are opened by one component.
    mutating func keep(_ index: UInt32, _ descriptor: consuming OwnedDescriptor) {
        cache[slot(of: store.physical[Int(index)])] = Slot(index: index, directory: OpenDirectory(descriptor))
    }

    /// A physical directory, opened now or still open.
    mutating func handle(_ index: UInt32) throws(SystemCallError) -> OpenDirectory {
        let slot = slot(of: store.physical[Int(index)])
        if cache[slot].index == index, let directory = cache[slot].directory { return directory }
        let directory = OpenDirectory(try open(index))
        cache[slot] = Slot(index: index, directory: directory)
        return directory
    }

    private func slot(of directory: PhysicalDirectory) -> Int {
        (Int(directory.depth) * layersKept + Int(directory.layer) % layersKept) % cache.count
    }

    /// Opens a directory for reading; symbolic links on the way are refused. Where the process has no descriptor left,
    /// those kept open are given up first.
    mutating func open(_ index: UInt32) throws(SystemCallError) -> OwnedDescriptor {
        do throws(SystemCallError) { return try openOnce(index) } catch {
            guard error.isOutOfDescriptors else { throw error }
            closeAll()
            var patience = DescriptorPatience()
            var problem = error
            repeat {
                do throws(SystemCallError) { return try openOnce(index) } catch {
                    guard error.isOutOfDescriptors else { throw error }
                    problem = error
                }
            } while patience.wait()
            throw problem
        }
    }

    /// Closes all directories that are kept open.
    mutating func closeAll() {
        for slot in cache.indices { cache[slot] = Slot() }
    }

    private mutating func openOnce(_ index: UInt32) throws(SystemCallError) -> OwnedDescriptor {
        opens += 1
        let record = store.physical[Int(index)]
        if record.parent == noIndex {
            return try roots.withRoot(Int(record.layer)) { (root) throws(SystemCallError) in
                try root.open(NamePointer("."), [.readOnly, .directory])
            }
        }
        // The parent is at hand: one component, no path walk.
        let slot = slot(of: store.physical[Int(record.parent)])
        if cache[slot].index == record.parent, let above = cache[slot].directory {
            return try above.descriptor.open(names.pointer(record.name), [.readOnly, .directory, .noFollow])
        }
        return try openByPath(index, record)
    }

    private mutating func openByPath(_ index: UInt32, _ record: PhysicalDirectory)
        throws(SystemCallError) -> OwnedDescriptor
    {
        chain.removeAll(keepingCapacity: true)
        var current = index
        while store.physical[Int(current)].parent != noIndex {
            chain.append(current)
            current = store.physical[Int(current)].parent
        }
        var directory: OwnedDescriptor?
        let names = names
        while !chain.isEmpty {
            path.removeAll(keepingCapacity: true)
            while let next = chain.last, path.count < Self.longestPath {
                if !path.isEmpty { path.append(UInt8(ascii: "/")) }
                let name = names[store.physical[Int(next)].name]
                for position in 0..<name.byteCount { path.append(name[position]) }
                chain.removeLast()
            }
            path.append(0)
            let bytes = path
            let opened: OwnedDescriptor
            if let next = try directory.withBorrowed({ (from) throws(SystemCallError) in
                try Self.openBeneath(from, bytes)
            }) {
                opened = next
            } else {
                opened = try roots.withRoot(Int(record.layer)) { (root) throws(SystemCallError) in
                    try Self.openBeneath(root, bytes)
                }
            }
            directory = consume opened
        }
        guard let directory = directory.take() else { throw SystemCallError("openat2", errno: ENOENT) }
        return directory
    }

    private static func openBeneath(_ directory: borrowing OwnedDescriptor, _ path: [UInt8])
        throws(SystemCallError) -> OwnedDescriptor
    {
        try directory.open(
            NamePointer(terminated: path.rawBytes), [.readOnly, .directory, .noFollow],
            resolve: [.noSymlinks, .beneath])
    }
}

extension Optional where Wrapped == OwnedDescriptor {
    /// Runs `body` with the descriptor if there is one.
    func withBorrowed<Result: ~Copyable>(
        _ body: (borrowing OwnedDescriptor) throws(SystemCallError) -> Result
    ) throws(SystemCallError) -> Result? {
        switch self {
        case .some(let descriptor): try body(descriptor)
        case .none: nil
        }
    }
}
