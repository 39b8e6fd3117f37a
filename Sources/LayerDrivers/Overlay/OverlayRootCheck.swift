import LayerModel
import LayerMounts
import LinuxIO

/// What crashes leave in a store of the driver `overlay` (drivers.md 15).
struct OverlayRootCheck {
    let store: OverlayRootStore
    private(set) var findings: Findings

    init(_ store: OverlayRootStore, repair: Bool) {
        self.store = store
        findings = Findings(repair: repair)
    }

    /// Layers that were being made, removed or unpacked. Only when no other process has the store open.
    ///
    /// `isOpening` leaves directories alone that no store of ours would hold.
    mutating func unfinished(isOpening: Bool = false) throws(LayerError) {
        let store = store
        for path in try store.trash.leftovers() {
            try findings.add(.unfinished, path, "a layer that was being made or removed; it is removed") {
                () throws(LayerError) in
                try Trash.remove(path)
            }
        }
        for name in try StoreFiles.names(in: store.home) {
            let path = store.home.appending(name)
            if OverlayStore.probePrefixes.contains(where: { name.bytes.starts(with: Array($0.utf8)) }) {
                try findings.add(.probe, path, "left by a probe of the kernel; it is removed") {
                    () throws(LayerError) in
                    try Trash.remove(path)
                }
            } else if !OverlayRootStore.isReserved(name), try StoreFiles.isDirectory(path) {
                try unfinished(LayerID(trusted: name), isOpening)
            }
        }
    }

    private mutating func unfinished(_ id: LayerID, _ isOpening: Bool) throws(LayerError) {
        let store = store
        let directory = store.layer(id)
        guard store.exists(id) else {
            guard !isOpening, try holdsOnlyLayerParts(id) else { return }
            return try findings.add(.unfinished, directory, "a layer without a tree and without a lower; it is removed")
            {
                () throws(LayerError) in
                if let taken = try store.trash.take(directory) { try Trash.remove(taken) }
            }
        }
        for name in try StoreFiles.names(in: directory)
        where OverlayRootStore.unfinishedPrefixes.contains(where: { name.bytes.starts(with: Array($0.utf8)) }) {
            let path = directory.appending(name)
            try findings.add(.unfinished, path, "a layer that was being unpacked; what was unpacked is removed") {
                () throws(LayerError) in try Trash.remove(path)
            }
        }
        // The new tree was in place when the process ended, what it replaces was not gone yet.
        if try store.isImage(id), try StoreFiles.isDirectory(store.upper(id)) {
            try findings.add(.unfinished, store.upper(id), "left beside the layer's whole tree; it is removed") {
                () throws(LayerError) in try store.dropUpper(of: id)
            }
        }
    }

    /// Whether nothing in the directory is foreign: only then may it be taken for a layer.
    private func holdsOnlyLayerParts(_ id: LayerID) throws(LayerError) -> Bool {
        let parts = ["upper", "work", "merged", "lower-id", OverlayRootStore.parentFile]
        return try StoreFiles.names(in: store.layer(id)).allSatisfy { name in
            parts.contains(name.description)
                || OverlayRootStore.unfinishedPrefixes.contains { name.bytes.starts(with: Array($0.utf8)) }
        }
    }

    /// Layers whose lower is gone, and mounts that lead nowhere.
    mutating func layers() throws(LayerError) {
        let store = store
        for id in try store.layers() where try !store.isImage(id) {
            guard let lower = try store.lower(of: id), try !store.isImage(lower) else { continue }
            try findings.add(
                .lower, store.layer(id).appending("lower-id"),
                "names the layer \(lower), which is gone; remove the layer \(id) and unpack it again", nil)
        }
        for entry in try MountTable.read().entries(atOrBelow: store.home) {
            guard let layer = entry.mountPoint.splitLast(), layer.name == PathBytes("merged"),
                let id = layer.directory.splitLast(), id.directory == store.home,
                !store.exists(LayerID(trusted: id.name))
            else { continue }
            try findings.add(.staleMount, entry.mountPoint, "its layer is gone; it is unmounted") {
                () throws(LayerError) in
                try KernelMount.unmount(entry.mountPoint, [.detach, .noFollow])
            }
        }
    }
}
