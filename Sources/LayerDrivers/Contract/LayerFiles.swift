import Glibc
public import LayerModel
public import LinuxIO

/// The files of one layer by the names of its archive, without mounting where the driver can do so.
public struct LayerFiles: ~Copyable, Sendable {
    private let roots: [LayerDirectory]
    private let dialect: WhiteoutDialect
    private let mounted: MountedLayer?
    /// Keeps the tree where it is.
    private let looks: [any LayerLook]

    /// Looks in `directories`, which merge: an upper directory and the ones below it, nearest first, or one whole tree.
    public init(in directories: [PathBytes], dialect: WhiteoutDialect = .overlay) throws(LayerError) {
        roots = try directories.map { (path) throws(LayerError) in try Self.open(path) }
        self.dialect = dialect
        mounted = nil
        looks = []
    }

    /// The same, of directories of which some lie at no path.
    init(in stack: LayerStack, dialect: WhiteoutDialect) throws(LayerError) {
        let opened = try stack.paths.map { (path) throws(LayerError) in try Self.open(path) }
        try stack.check()
        roots = opened
        self.dialect = dialect
        mounted = nil
        looks = stack.looks
    }

    /// Looks in one whole tree.
    init(_ look: any LayerLook) throws(LayerError) {
        roots = [try Self.open(look.path)]
        dialect = .tree
        mounted = nil
        looks = [look]
    }

    /// Looks in a mounted layer, which stays mounted until this ends.
    public init(mounted: consuming MountedLayer) throws(LayerError) {
        roots = [try Self.open(mounted.path)]
        dialect = .tree
        self.mounted = consume mounted
        looks = []
    }

    private static func open(_ path: PathBytes) throws(LayerError) -> LayerDirectory {
        LayerDirectory(
            try attempt("open the layer", path) { () throws(SystemCallError) in try path.open([.pathOnly, .directory]) }
        )
    }

    /// Opens the file that the archive calls `name`: with or without `./` or `/` before it, with `..` inside; symbolic
    /// links on the way stay inside the layer.
    ///
    /// Throws `notFound` for a missing or deleted file, and for what is no regular file, never empty data: a container may have
    /// put a FIFO or a device there.
    public func open(_ name: PathBytes) throws(LayerError) -> OwnedDescriptor {
        var last: SystemCallError
        do throws(SystemCallError) {
            // Nearly always it is the layer's own file.
            return try roots[0].openBeneath(name)
        } catch {
            last = error
        }
        // ENOENT, ENOTDIR, and ENXIO of a whiteout: there may be a file below.
        guard [ENOENT, ENXIO, ENOTDIR].contains(last.errno) else {
            throw LayerError(last, "open the layer's file", path: name)
        }
        if roots.count > 1 {
            var lookup = MergedLookup(roots, dialect)
            do throws(SystemCallError) {
                if let found = try lookup.open(name) { return found }
            } catch {
                last = error
            }
        }
        throw LayerError(
            [ENOENT, ENXIO, ENOTDIR].contains(last.errno) ? .notFound : LayerError.Code(errno: last.errno),
            "open the layer's file",
            path: name, cause: .systemCall(last))
    }
}

/// An open directory of a layer.
final class LayerDirectory: Sendable {
    let descriptor: OwnedDescriptor
    init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }

    /// Opens the regular file at a path for which this directory is the root.
    func openBeneath(_ path: PathBytes) throws(SystemCallError) -> OwnedDescriptor {
        try path.withName { (name) throws(SystemCallError) in
            try descriptor.openRegular(name, resolve: [.inRoot, .noMagicLinks])
        }
    }
}
