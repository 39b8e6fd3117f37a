import LayerModel
import LayerMounts
import LinuxIO

/// The home directory of a store of the overlay family.
enum OverlayHome {
    /// Makes the home directory and `l` where they are missing, with the owners and modes that Docker gives them.
    static func make(
        _ configuration: DriverConfiguration, holdsPacked: Bool, _ writer: StoreWriter
    ) throws(LayerError) {
        try writer.makeDirectory(
            configuration.home, mode: 0o710, owner: configuration.directoryOwner, parents: true)
        let mark = configuration.home.appending(OverlayView.packedMark)
        // Before the first layer: drivers that know of no packed layers stop at it.
        if holdsPacked, try StoreFiles.metadata(mark) == nil {
            try writer.write([], to: mark, mode: 0o600, durable: true)
        }
        try writer.makeDirectory(configuration.home.appending("l"), mode: 0o700, owner: .current)
    }

    /// Whether a home with a directory `l` is a store's that has layers: a name in `l` leads to one, a layer has kept its name, or
    /// what stores keep besides is there. A directory `l` alone is what anybody may have.
    static func holdsLayers(_ home: PathBytes, _ names: [PathBytes]) throws(LayerError) -> Bool {
        let links = home.appending("l")
        for name in try StoreFiles.names(in: links) where ShortLink(name.bytes) != nil {
            if try StoreFiles.readLink(links.appending(name)).flatMap(ShortLink.layer) != nil { return true }
        }
        for mark in [OverlayView.packedMark, "backingFsBlockDev", ".has-mount-program"] {
            if names.contains(PathBytes(mark)) { return true }
        }
        for name in names where !OverlayView.isReserved(name) {
            let layer = home.appending(name)
            let isLayer = StoreFiles.mayBe { () throws(LayerError) in
                guard try StoreFiles.isDirectory(layer.appending("diff")) else { return false }
                return try StoreFiles.read(layer.appending("link")).flatMap { ShortLink($0) } != nil
            }
            if isLayer { return true }
        }
        return false
    }

    /// Whether layers were made or removed here: the directory for that is there, as nobody but its owner may use it.
    static func hasWorked(in home: PathBytes) throws(LayerError) -> Bool {
        guard let area = try StoreFiles.metadata(home.appending(WorkArea.directoryName)) else { return false }
        return area.kind == .directory && area.mode & 0o7777 == 0o700
    }

    /// Where layers of the store are mounted, the deepest first, each place once: at the `merged` of a layer that is there, or
    /// of another store's.
    static func mountPoints(_ view: some MergedView) throws(LayerError) -> [PathBytes] {
        var points: [PathBytes] = []
        let home = try view.home.resolvedParent()
        for entry in try MountTable.mounts(atOrBelow: view.home).reversed() where view.owns(entry) {
            let point = entry.mountPoint
            guard let layer = point.splitLast(), layer.name == PathBytes("merged"),
                let (above, name) = layer.directory.splitLast(), !points.contains(point)
            else { continue }
            if above == home.appending(WorkArea.directoryName) {
                guard name.bytes.starts(with: OverlayView.foreignMounts) else { continue }
            } else {
                // What nobody can look at is not proven ours.
                let state = (try? view.state(of: LayerID(trusted: name))) ?? .absent
                guard above == home, state != .absent else { continue }
            }
            points.append(point)
        }
        return points
    }
}
