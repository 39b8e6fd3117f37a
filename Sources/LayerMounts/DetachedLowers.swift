public import LayerModel
internal import LinuxIO

/// Overlays of which some lower directories are mounted at no path. Whoever looks at the mount table sees the overlay alone.
extension OverlayMount {
    /// How such an overlay is mounted.
    public enum DetachedWay: String, Sendable, CaseIterable {
        /// The kernel takes the lowers by their descriptors (Linux 6.13).
        case descriptors
        /// They are put at paths in a mount namespace that ends with the call, and the overlay is taken out of that.
        case namespace
    }

    /// Mounts the overlay at `target`; without a `way` the first that the kernel knows. `home` has a directory `tempdirs`, in
    /// which no directory of the overlay lies.
    ///
    /// Throws with `target` and the kernel's reason; nothing is mounted then.
    public func mountDetached(
        at target: PathBytes, relativeTo home: PathBytes, api: NewMountAPI, way: DetachedWay? = nil
    ) throws(LayerError) {
        if way != .namespace, api.takesSingleLowers || way != nil {
            do throws(LayerError) {
                return try mountSingly(at: target)
            } catch {
                // EBADF, EINVAL: the kernel wants paths here.
                guard way == nil, error.errno == 9 || error.errno == 22 else { throw error }
            }
        }
        try mountThroughNamespace(at: target, home, api)
    }

    private func mountThroughNamespace(
        at target: PathBytes, _ home: PathBytes, _ api: NewMountAPI
    ) throws(LayerError) {
        let place = home.appending("tempdirs")
        let mount = try PrivateMounts.run(in: place) { [self] () throws(LayerError) -> DetachedMount in
            var plain = self
            plain.detached = [:]
            for (number, mount) in detached {
                let path = place.appending("\(number)")
                try makeDirectory(path)
                try check(
                    Kernel.move(mount.descriptor, to: Terminated(path)), "move_mount", "mount a packed layer at", path)
                plain.lowers[number] = path
                if !plain.relativeLowers.isEmpty {
                    plain.relativeLowers[number] = PathBytes("tempdirs").appending("\(number)")
                }
            }
            let merged = place.appending("m")
            try makeDirectory(merged)
            try plain.mount(at: merged, relativeTo: home, api: api)
            let copy = Kernel.cloneTree(Terminated(merged), recursive: false)
            return DetachedMount(
                OwnedDescriptor(adopting: try check(copy, "open_tree", "error creating overlay mount to", target)))
        }
        try check(
            Kernel.move(mount.descriptor, to: Terminated(target)), "move_mount", "error creating overlay mount to",
            target)
    }

    private func makeDirectory(_ path: PathBytes) throws(LayerError) {
        try naming("make the directory", path) { () throws(SystemCallError) in
            guard let (directory, name) = path.splitLast() else { return }
            let parent = try directory.open([.pathOnly, .directory])
            try name.withName { (name) throws(SystemCallError) in try parent.makeDirectory(name, mode: 0o700) }
        }
    }
}
