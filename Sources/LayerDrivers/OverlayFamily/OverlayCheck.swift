import LayerEngine
import LayerModel
import LayerMounts
import LinuxIO

/// What crashes leave in a store of the overlay family, and how it is mended.
struct OverlayCheck {
    let view: OverlayView
    var findings: Findings<MergedLayers<OverlayStore>>

    init(_ view: OverlayView, _ mender: MergedLayers<OverlayStore>?) {
        self.view = view
        findings = Findings(mendingWith: mender)
    }

    /// Looks at everything that is known to be the store's. What is not is left alone, and nothing is said of it.
    mutating func run() throws(LayerError) -> [Finding] {
        try findings.addLeftovers(view, probes: [view.home, view.home.appending("userxattr-check")])
        for name in try StoreFiles.names(in: view.home) where !OverlayView.isReserved(name) {
            let id = LayerID(trusted: name)
            guard case .ours = try view.form(of: id), try !isBusy(id) else { continue }
            if try !unfinished(id) { try layer(id) }
        }
        try lowers()
        try links()
        try mounts()
        return findings.list
    }

    /// Whether somebody works on the layer at this moment: what is seen of it may be half of something.
    private func isBusy(_ id: LayerID) throws(LayerError) -> Bool {
        if case .busy = try FileLock.tryTake(view.home.appending(id.component), .shared) { return true }
        return false
    }

    /// Whether the layer's contents are still to come. Nobody will bring them where its maker has ended.
    private mutating func unfinished(_ id: LayerID) throws(LayerError) -> Bool {
        let (view, mark) = (view, view.unfinishedMark(id))
        guard let stage = try UnfinishedLayers.stage(mark) else { return false }
        if try UnfinishedLayers.hasMaker(mark) { return true }
        switch stage {
        case .filling:
            findings.add(.unfinished, view.layer(id), "a layer that Docker was filling", "it is removed") {
                (mender) throws(LayerError) in
                try mender.mend(id) { () throws(LayerError) in try UnfinishedLayers.stage(mark) != .filling }
            }
        case .created:
            findings.add(
                .unfinished, view.layer(id),
                "a layer that Docker made and has not filled; remove it unless Docker still knows it")
        }
        return true
    }

    private mutating func layer(_ id: LayerID) throws(LayerError) {
        let (view, directory) = (view, view.layer(id))
        try findings.addLeftovers(in: directory, of: id)
        try mergedDirectory(id)
        try link(id)
        if try view.isPacked(id) { return try packed(id) }
        let record = view.record(of: id)
        guard let recorded = record.load() else { return }
        let size = try DiffEngine.size(SourceOptions(upper: view.contents(id)))
        guard size.bytes != recorded.byteCount else { return }
        findings.add(
            .recordedSize, directory.appending(SizeRecordFile.fileName),
            "says \(recorded.byteCount) bytes where there are \(size.bytes)", "it is forgotten"
        ) { (mender) throws(LayerError) in try record.forget(mender.store.writer) }
    }

    /// An empty mount point is made for each mount and removed after it; containers/storage keeps it.
    private mutating func mergedDirectory(_ id: LayerID) throws(LayerError) {
        let merged = view.merged(id)
        func isLeft() throws(LayerError) -> Bool {
            guard try MountTable.state(of: merged) == .notMounted, try StoreFiles.isDirectory(merged) else {
                return false
            }
            return try StoreFiles.isEmpty(merged)
        }
        guard try StoreFiles.metadata(view.home.appending(".has-mount-program")) == nil, try isLeft() else { return }
        findings.add(.unfinished, merged, "a mount point without a mount", "it is removed") {
            (mender) throws(LayerError) in
            try mender.guarded.withLock(id) { (_) throws(LayerError) in
                if try isLeft() { try mender.store.writer.removeDirectory(merged) }
            }
        }
    }

    private mutating func link(_ id: LayerID) throws(LayerError) {
        let (view, path) = (view, view.layer(id).appending("link"))
        guard let link = try view.writtenLink(of: id) else { return try missingLink(id, path) }
        guard try view.layer(of: link) != id else { return }
        findings.add(
            .link, view.path(of: link), "does not lead to the layer \(id), whose name it is", "it is made anew"
        ) {
            (mender) throws(LayerError) in
            guard try view.layer(of: link) != id, case .ours = try view.form(of: id) else { return }
            try mender.store.setLink(link, to: id)
        }
    }

    private mutating func missingLink(_ id: LayerID, _ path: PathBytes) throws(LayerError) {
        let view = view
        if let link = try view.linkLeading(to: id) {
            return findings.add(.link, path, "missing or empty", "it is written anew from l/\(link.name)") {
                (mender) throws(LayerError) in
                try mender.store.writer.write(link.name.bytes, to: path, mode: 0o644, durable: true)
            }
        }
        let contents = view.contents(id)
        guard try StoreFiles.isDirectory(contents), try !StoreFiles.isEmpty(contents) else {
            return findings.add(.unfinished, view.layer(id), "a layer without link and contents", "it is removed") {
                (mender) throws(LayerError) in
                try mender.mend(id) { () throws(LayerError) in
                    if try view.link(of: id) != nil { return true }
                    guard try StoreFiles.isDirectory(contents) else { return false }
                    return try !StoreFiles.isEmpty(contents)
                }
            }
        }
        // `diff` is what anybody's directory may hold.
        guard id.isDockers else { return }
        findings.add(.link, path, "missing, and no name in l/ leads to the layer", "a new one is made") {
            (mender) throws(LayerError) in
            let link = ShortLink.random()
            try mender.store.writer.makeLink(view.links.appending(link.name), to: ShortLink.target(id))
            try mender.store.writer.write(link.name.bytes, to: path, mode: 0o644, durable: true)
        }
    }
}
