package import LayerModel
import LayerMounts
import LinuxIO

/// Where layers are shown.
extension PackedContents {
    /// Mounts those of the layers that are packed, and are not mounted.
    ///
    /// Throws `corruptLayer` where one's files are not its record's.
    package func show(_ ids: [Int64]) throws(LayerError) {
        for id in ids {
            guard let target = try StoreFiles.readLink(view.contents(id)) else { continue }
            // The usual case, which reads no record.
            if target.splitLast()?.directory == view.mounts, try isMounted(target) { continue }
            try locks.holding(id) { () throws(LayerError) in
                guard let target = try StoreFiles.readLink(view.contents(id)) else { return }
                let files = try view.files(id)
                try mount(id, files)
                // The store lay elsewhere when it was packed.
                let point = view.mountPoint(id, files)
                guard point != target else { return }
                let link = view.part(PackedContentsView.Part.link, of: id)
                try writer.unlink(link)
                try writer.makeLink(link, to: point)
                try writer.move(link, over: view.contents(id))
            }
        }
    }

    /// EROFS_SUPER_MAGIC
    private func isMounted(_ point: PathBytes) throws(LayerError) -> Bool {
        try MountTable.state(of: point, magic: 0xE0F5_E1E2) == .mounted
    }

    func mount(_ id: Int64, _ files: PackedLayerFiles) throws(LayerError) {
        let point = view.mountPoint(id, files)
        guard try !isMounted(point) else { return }
        try point.makeDirectories("make the directory")
        try files.mount(at: point, byLoop: settings.way.mountWay.map { $0 == .loop })
    }

    /// Unmounts what is mounted for the layer. What is in use is never taken from its users: that ends it with `inUse`.
    func hide(_ id: Int64) throws(LayerError) {
        guard let target = try StoreFiles.readLink(view.contents(id)),
            let (directory, name) = target.splitLast(), directory == view.mounts,
            PackedContentsView.id(ofMount: name) == id
        else { return }
        try hide(target)
    }

    func hide(_ point: PathBytes) throws(LayerError) {
        while try isMounted(point) { try KernelMount.unmount(point) }
        try writer.removeDirectory(point)
    }

    /// Removes the storage of a layer with `body`, when it is mounted no more.
    package func discard(_ id: Int64, _ body: () throws(LayerError) -> Void) throws(LayerError) {
        try locks.holding(id) { () throws(LayerError) in
            forget(id)
            try hide(id)
            try body()
        }
    }

    /// At the start: ends what a killed process was at with the layers that are known, and unmounts what is no known layer's.
    /// What cannot be removed or unmounted keeps nobody from anything.
    package func settle(_ ids: some Sequence<Int64>) throws(LayerError) {
        var points: Set<PathBytes> = []
        for id in ids {
            let target = try StoreFiles.readLink(view.contents(id))
            if let target { points.insert(target) }
            try? clear(id, isPacked: target != nil)
        }
        for name in try StoreFiles.names(in: view.mounts) {
            let point = view.mounts.appending(name)
            guard PackedContentsView.id(ofMount: name) != nil, !points.contains(point) else { continue }
            try? hide(point)
        }
    }

    /// Removes the directory of the mounts, if nothing is mounted any more.
    package func end() { try? writer.removeDirectory(view.mounts) }

    /// `fs` says which form the layer has; what of another one lies beside it is a change's that did not end.
    func clear(_ id: Int64, isPacked: Bool) throws(LayerError) {
        for name in PackedContentsView.Part.all where !isPacked || name != PackedContentsView.Part.packed {
            let path = view.part(name, of: id)
            guard let found = try StoreFiles.metadata(path) else { continue }
            if found.kind == .directory { try TreeRemoval.remove(path) } else { try writer.unlink(path) }
        }
    }
}
