import LayerModel
import LayerMounts
import LinuxIO

/// What crashes leave in a store of the driver `overlay`.
struct OverlayRootCheck {
    let view: OverlayRootView
    private var findings: Findings<MergedLayers<OverlayRootStore>>
    private var chains = ParentChains<PathBytes>()

    init(_ view: OverlayRootView, _ mender: MergedLayers<OverlayRootStore>?) {
        self.view = view
        findings = Findings(mendingWith: mender)
    }

    /// Looks at everything that is known to be the store's. What is not is left alone, and nothing is said of it.
    mutating func run() throws(LayerError) -> [Finding] {
        try findings.addLeftovers(view, probes: [view.home])
        for name in try StoreFiles.names(in: view.home) where !OverlayRootView.isReserved(name) {
            let id = LayerID(trusted: name)
            guard case .ours = try view.form(of: id) else { continue }
            if case .busy = try FileLock.tryTake(view.layer(id), .shared) { continue }
            try layer(id)
        }
        try mounts()
        return findings.list
    }

    private mutating func layer(_ id: LayerID) throws(LayerError) {
        let (view, directory) = (view, view.layer(id))
        let mark = view.unfinishedMark(id)
        switch try view.state(of: id) {
        case .absent:
            // What lies in an upper directory without its lower may be all that somebody has of it.
            let upper = view.upper(id)
            if try StoreFiles.isDirectory(upper), try !StoreFiles.isEmpty(upper) {
                return findings.add(.lower, directory, "does not name its lower layer; remove it if it is not needed")
            }
            findings.add(.unfinished, directory, "a layer without a tree and without a lower", "it is removed") {
                (mender) throws(LayerError) in
                try mender.mend(id) { () throws(LayerError) in try view.state(of: id) != .absent }
            }
        case .unfinished:
            if try UnfinishedLayers.hasMaker(mark) { return }
            guard try UnfinishedLayers.stage(mark) == .filling else {
                return findings.add(
                    .unfinished, directory,
                    "a layer that Docker made and has not filled; remove it unless Docker still knows it")
            }
            findings.add(.unfinished, directory, "a layer that Docker was filling", "it is removed") {
                (mender) throws(LayerError) in
                try mender.mend(id) { () throws(LayerError) in try UnfinishedLayers.stage(mark) != .filling }
            }
        case .complete: try complete(id)
        }
    }

    private mutating func complete(_ id: LayerID) throws(LayerError) {
        let (view, directory) = (view, view.layer(id))
        try findings.addLeftovers(in: directory, of: id)
        try parents(id)
        if try view.isImage(id) {
            // The new tree was in place when the process ended, what it replaces was not gone yet.
            guard try StoreFiles.isDirectory(view.upper(id)) else { return }
            guard try StoreFiles.isEmpty(view.upper(id)) else {
                return findings.add(
                    .unfinished, view.upper(id),
                    "lies beside the layer's whole tree, which does not show it, and holds something; see to it by hand"
                )
            }
            return findings.add(.unfinished, view.upper(id), "left beside the layer's whole tree", "it is removed") {
                (mender) throws(LayerError) in
                try mender.guarded.withLock(id) { (_) throws(LayerError) in
                    try mender.requireUnmounted(id)
                    if try view.isImage(id) { try mender.store.dropUpper(of: id) }
                }
            }
        }
        guard let lower = try view.lower(of: id), try !view.isImage(lower) else { return }
        findings.add(
            .lower, directory.appending("lower-id"),
            "names the layer \(lower), which is gone; remove the layer \(id) and unpack it again")
    }

    /// A layer's tree is whole without its parent; its difference needs it, and so does a migration.
    private mutating func parents(_ id: LayerID) throws(LayerError) {
        let view = view
        guard let parent = try view.parent(of: id) else { return }
        let file = view.layer(id).appending(OverlayRootView.parentFile)
        let isEndless = try chains.areEndless(from: id.component) { (component) throws(LayerError) in
            try view.parent(of: LayerID(trusted: component))?.component
        }
        if isEndless {
            findings.add(
                .lower, file, "the layer's parents lead back to one of them; write its parent's name there, or nothing")
        } else if try view.isImage(id), try view.state(of: parent) == .absent {
            // What a container's layer lies on is looked at besides.
            findings.add(
                .lower, file,
                "names the layer \(parent), which is gone; its tree is whole, its difference cannot be told")
        }
    }

    private mutating func mounts() throws(LayerError) {
        let home = try view.home.resolvedParent()
        for entry in try MountTable.mounts(atOrBelow: view.home) where view.owns(entry) {
            let point = entry.mountPoint
            guard let layer = point.splitLast(), layer.name == PathBytes("merged"),
                let (above, name) = layer.directory.splitLast(), above == home,
                (try? view.state(of: LayerID(trusted: name))) == .absent
            else { continue }
            findings.add(.staleMount, point, "its layer is gone", "it is unmounted") {
                (mender) throws(LayerError) in try mender.mounts.end(point)
            }
        }
    }
}
