import Glibc
import LayerModel
import LinuxIO

/// Opens physical directories beneath their roots, keeping the last few open so that a tree walk costs about one
/// open a directory. One per worker.
struct DirectoryOpener: ~Copyable {
    private let store: TreeStore
    private let names: NameArena
    private let roots: LayerRoots
    /// Opened directories by depth: on a depth-first way the ancestors of the current one stay cached.
    private var kept: KeptDirectories
    private var path: [UInt8] = []
    private var chain: [NameRef] = []
    var opens: UInt64 = 0

    /// Layers whose directories of one depth are kept side by side: both sides of a comparison and two more, or all
    /// layers of a tall stack, since every name is looked up in one after the other.
    private let layersKept: Int
    /// Descriptors kept open per worker at most: 32 levels of few layers, two of many.
    private static let cacheSize = 128
    static let largeCacheSize = 256
    init(store: TreeStore, roots: LayerRoots, directories: Int) {
        self.store = store
        self.roots = roots
        names = store.names
        let isTall = roots.count > 4
        let size = min(directories, isTall ? Self.largeCacheSize : Self.cacheSize)
        layersKept = max(1, isTall ? min(roots.count, size / 2) : min(4, size / 2))
        kept = KeptDirectories(count: size)
    }

    /// Keeps an opened directory, so that directories in it are opened by one component.
    mutating func keep(_ index: UInt32, _ descriptor: consuming OwnedDescriptor) {
        kept.keep(SharedDescriptor(descriptor), index, at: place(of: store.physical[Int(index)]))
    }

    /// A physical directory, opened now or still open.
    mutating func handle(_ index: UInt32) throws(SystemCallError) -> SharedDescriptor {
        let place = place(of: store.physical[Int(index)])
        if let directory = kept.directory(index, at: place) { return directory }
        let directory = SharedDescriptor(try open(index))
        kept.keep(directory, index, at: place)
        return directory
    }

    private func place(of directory: PhysicalDirectory) -> Int {
        Int(directory.depth) * layersKept + Int(directory.layer) % layersKept
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
    mutating func closeAll() { kept.closeAll() }

    private mutating func openOnce(_ index: UInt32) throws(SystemCallError) -> OwnedDescriptor {
        opens += 1
        let record = store.physical[Int(index)]
        if record.parent == noIndex {
            return try roots.shared(Int(record.layer)).descriptor.open(NamePointer("."), [.readOnly, .directory])
        }
        // The parent is at hand: one component, no path walk.
        if let above = kept.directory(record.parent, at: place(of: store.physical[Int(record.parent)])) {
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
            chain.append(store.physical[Int(current)].name)
            current = store.physical[Int(current)].parent
        }
        let root = roots.shared(Int(record.layer))
        return try root.descriptor.openDirectory(below: &chain, names, &path, resolve: [.noSymlinks, .beneath])
    }
}
