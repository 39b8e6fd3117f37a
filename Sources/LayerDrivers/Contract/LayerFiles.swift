public import LayerModel
public import LinuxIO

/// The files of one layer by the names of its archive, without mounting where the driver can do so (drivers.md 11).
public struct LayerFiles: ~Copyable, Sendable {
    private let roots: [Root]
    private let mounted: MountedLayer?

    private final class Root: Sendable {
        let descriptor: OwnedDescriptor
        init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }
    }

    /// Looks in `directories`, one after the other.
    public init(in directories: [PathBytes]) throws(LayerError) {
        var roots: [Root] = []
        for path in directories {
            roots.append(
                Root(
                    try attempt("open the layer", path) { () throws(SystemCallError) in
                        try path.open([.pathOnly, .directory])
                    }))
        }
        self.roots = roots
        mounted = nil
    }

    /// Looks in a mounted layer, which stays mounted until this ends.
    public init(mounted: consuming MountedLayer) throws(LayerError) {
        let path = mounted.path
        let root = try attempt("open the layer", path) { () throws(SystemCallError) in
            try path.open([.pathOnly, .directory])
        }
        roots = [Root(root)]
        self.mounted = consume mounted
    }

    /// Opens the file that the archive calls `name`: with or without `./` or `/` before it, with `..` inside; symbolic
    /// links on the way stay inside the layer.
    ///
    /// Throws `notFound` for a missing file, never empty data.
    public func open(_ name: PathBytes) throws(LayerError) -> OwnedDescriptor {
        var last = SystemCallError("openat2", errno: 2)
        for root in roots {
            do throws(SystemCallError) {
                return try name.withName { (pointer) throws(SystemCallError) in
                    try root.descriptor.open(pointer, [.readOnly, .nonBlocking], resolve: [.inRoot, .noMagicLinks])
                }
            } catch {
                last = error
                // ENOENT, ENOTDIR: perhaps in a layer below.
                guard error.errno == 2 || error.errno == 20 else { break }
            }
        }
        throw LayerError(last, "open the layer's file", path: name)
    }
}
