import LayerModel
import LayerMounts
import LinuxIO

extension OverlayCheck {
    /// Every `lower` file must name layers that are there. An empty one is rebuilt from a child, which repeats it.
    mutating func lowers() throws(LayerError) {
        let view = view
        let owners = try view.linkOwners()
        for (link, id) in owners.sorted(by: { $0.value < $1.value }) {
            guard case .ours = try view.form(of: id) else { continue }
            let path = view.layer(id).appending("lower")
            guard let text = try StoreFiles.read(path) else { continue }
            guard let links = LowerChain.links(in: text) else {
                if let rebuilt = try lowerFromChild(of: link, owners) {
                    findings.add(
                        .lower, path, "is empty or damaged", "it is rebuilt from what a child of the layer says"
                    ) { (mender) throws(LayerError) in
                        try mender.store.writer.write(LowerChain.text(rebuilt), to: path, mode: 0o644, durable: true)
                    }
                } else {
                    findings.add(.lower, path, "is empty or damaged; remove the layer \(id) and unpack it again")
                }
                continue
            }
            for lower in links where owners[lower] == nil {
                let leads = try view.layer(of: lower)
                if let leads, try StoreFiles.isDirectory(view.contents(leads)) { continue }
                findings.add(
                    .lower, path,
                    "names l/\(lower.name), whose layer is gone; remove the layer \(id) and unpack it again")
            }
        }
    }

    private func lowerFromChild(
        of link: ShortLink, _ owners: [ShortLink: LayerID]
    ) throws(LayerError) -> [ShortLink]? {
        for id in owners.values {
            guard let text = try StoreFiles.read(view.layer(id).appending("lower")),
                let links = LowerChain.links(in: text), let position = links.firstIndex(of: link),
                position + 1 < links.count
            else { continue }
            return Array(links[(position + 1)...])
        }
        return nil
    }

    /// Names in `l/` that lead nowhere and that no layer's chain uses. Whoever makes a layer makes its name first, and holds
    /// the lock of `l` meanwhile.
    mutating func links() throws(LayerError) {
        let view = view
        guard case .taken(let lock) = try FileLock.tryTake(view.links, .exclusive) else { return }
        defer { withExtendedLifetime(lock) {} }
        for name in try StoreFiles.names(in: view.links) where ShortLink(name.bytes) != nil {
            let path = view.links.appending(name)
            guard let target = try StoreFiles.readLink(path), let id = ShortLink.layer(target: target),
                try StoreFiles.metadata(view.layer(id)) == nil
            else { continue }
            findings.add(.link, path, "leads to the layer \(id), which is gone", "it is removed") {
                (mender) throws(LayerError) in try mender.store.writer.unlink(path)
            }
        }
    }

    /// Mounts of the store's layers whose layer is gone or whose server is dead.
    mutating func mounts() throws(LayerError) {
        let home = try view.home.resolvedParent()
        for entry in try MountTable.mounts(atOrBelow: view.home) where view.owns(entry) {
            let point = entry.mountPoint
            guard let layer = point.splitLast(), layer.name == PathBytes("merged"),
                let (above, name) = layer.directory.splitLast(), above == home
            else { continue }
            let id = LayerID(trusted: name)
            let isDead = try MountTable.state(of: point) == .stale
            guard isDead || (try? view.state(of: id)) == .absent else { continue }
            findings.add(
                .staleMount, point,
                isDead ? "its server is dead" : "its layer is gone", "it is unmounted"
            ) { (mender) throws(LayerError) in try mender.mounts.end(point) }
        }
    }
}
