import LayerModel
import LayerMounts
import LinuxIO

/// What mends a store of aufs.
struct AUFSMender {
    let store: AUFSStore
    let system: any AUFSMounts
    let guarded: LayerGuard
}

/// What crashes leave in a store of aufs.
struct AUFSCheck {
    let view: AUFSView
    private let system: any AUFSMounts
    private var findings: Findings<AUFSMender>

    init(_ view: AUFSView, _ mender: AUFSMender?) {
        self.view = view
        system = mender?.system ?? SystemAUFSMounts()
        findings = Findings(mendingWith: mender)
    }

    mutating func run() throws(LayerError) -> [Finding] {
        var claimed: Set<PathBytes> = []
        for path in try WorkArea.leftovers(home: view.home, AUFSView.parts) {
            if let claim = try AUFSClaim(in: path), try claim.concerns(view.contents(claim.id)) {
                claimed.insert(view.contents(claim.id))
                claimed.insert(view.mountPoint(claim.id))
            }
            findings.add(.unfinished, path, "a layer that was being made or removed", "it is removed") {
                (mender) throws(LayerError) in
                guard let left = try mender.store.work.claim(path) else { return }
                try mender.store.gather(left)
                try left.remove(tries: 1)
            }
        }
        try leftovers(claimed)
        for id in try StoreFiles.names(in: view.lists).map({ LayerID(trusted: $0) })
        where try view.state(of: id) != .absent {
            if try !unfinished(id) { try list(id) }
        }
        return findings.list
    }

    /// Directories that Docker was removing, or that belong to no layer.
    private mutating func leftovers(_ claimed: Set<PathBytes>) throws(LayerError) {
        for part in ["mnt", "diff"] {
            for name in try StoreFiles.names(in: view.home.appending(part)) {
                let path = view.home.appending(part).appending(name)
                guard try StoreFiles.isDirectory(path), !claimed.contains(path) else { continue }
                let stem =
                    name.bytes.suffix(AUFSView.removing.count).elementsEqual(AUFSView.removing)
                    ? PathBytes(Array(name.bytes.dropLast(AUFSView.removing.count))) : name
                let id = LayerID(trusted: stem)
                guard try StoreFiles.metadata(view.list(id)) == nil || stem != name else { continue }
                if stem == name, try view.isHalfMade(id) {
                    guard part == "mnt" else { continue }
                    findings.add(.unfinished, path, "of a layer that was being made and is empty", "it is removed") {
                        (mender) throws(LayerError) in _ = try mender.store.clearUnproven(id)
                    }
                    continue
                }
                // What is not of Docker's form may be anybody's; and a name alone tells nobody what may go.
                guard id.isDockers else { continue }
                if try MountTable.state(of: path) != .notMounted {
                    findings.add(.staleMount, path, "mounted, but no layer of this name is there; unmount it by hand")
                } else {
                    let what = stem == name ? "belongs to no layer" : "seems to be of a layer that Docker was removing"
                    findings.add(.unfinished, path, "\(what); remove it by hand if it is not needed")
                }
            }
        }
    }

    /// Whether the layer's contents are still to come. Nobody will bring them where its maker has ended.
    private mutating func unfinished(_ id: LayerID) throws(LayerError) -> Bool {
        let (view, mark) = (view, view.unfinishedMark(id))
        guard let stage = try UnfinishedLayers.stage(mark) else { return false }
        if try UnfinishedLayers.hasMaker(mark) { return true }
        guard stage == .filling else {
            findings.add(
                .unfinished, view.list(id),
                "a layer that Docker made and has not filled; remove it unless Docker still knows it")
            return true
        }
        findings.add(.unfinished, view.list(id), "a layer that Docker was filling", "it is removed") {
            (mender) throws(LayerError) in
            let removed = try mender.guarded.withLock(id) { (own) throws(LayerError) -> WorkDirectory? in
                guard own != nil, try UnfinishedLayers.stage(mark) == .filling, let layer = try view.proven(id) else {
                    return nil
                }
                return try mender.store.take(layer)
            }
            try removed?.remove()
        }
        return true
    }

    /// Lists of ancestors that are damaged, and mounts whose server is dead.
    private mutating func list(_ id: LayerID) throws(LayerError) {
        let view = view
        do throws(LayerError) {
            let ancestors = try view.ancestors(of: id)
            for (index, ancestor) in ancestors.enumerated() {
                guard try view.state(of: ancestor) != .absent else {
                    findings.add(.lower, view.list(id), "names \(ancestor), which is gone; remove the layer")
                    break
                }
                let below = try view.ancestors(of: ancestor)
                guard index == 0, below != Array(ancestors.dropFirst()) else { continue }
                let text = ([ancestor] + below).flatMap { $0.component.bytes + [UInt8(ascii: "\n")] }
                findings.add(.lower, view.list(id), "disagrees with its parent's", "it is written anew") {
                    (mender) throws(LayerError) in
                    try mender.store.writer.write(text, to: view.list(id), mode: 0o644, durable: true)
                }
                break
            }
        } catch {
            guard error.code == .corruptLayer else { throw error }
            findings.add(.lower, view.list(id), "is damaged; remove the layer")
        }
        let point = view.mountPoint(id)
        let check = self
        if try isPart(id) {
            findings.add(.staleMount, point, "shows only some of the layer's branches", "it is unmounted") {
                (mender) throws(LayerError) in
                try mender.guarded.withLock(id) { (_) throws(LayerError) in
                    if try check.isPart(id) { try mender.system.unmount(point) }
                }
            }
        }
        guard try MountTable.state(of: point) == .stale else { return }
        findings.add(.staleMount, point, "does not answer", "it is unmounted") { (mender) throws(LayerError) in
            try mender.system.unmount(point)
        }
    }

    /// Whether a process was killed between the mounts that make the layer's union.
    private func isPart(_ id: LayerID) throws(LayerError) -> Bool {
        let point = view.mountPoint(id)
        // Asked first: the list of a layer that is not mounted may be damaged, which is told elsewhere.
        guard try system.state(of: point) == .mounted, let shown = try system.branchCount(of: point) else {
            return false
        }
        return try shown != view.lowerPaths(of: id).count + 1
    }
}
