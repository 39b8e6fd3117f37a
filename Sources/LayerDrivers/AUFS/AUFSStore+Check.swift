public import LayerModel
import LayerMounts
import LinuxIO

/// What crashes leave in a store of aufs (drivers.md 8.1, 8.5).
struct AUFSCheck {
    let store: AUFSStore
    let system: any AUFSMounts
    private(set) var findings: Findings

    init(_ store: AUFSStore, _ system: any AUFSMounts, repair: Bool) {
        self.store = store
        self.system = system
        findings = Findings(repair: repair)
    }

    /// Directories that are being removed, or belong to no layer. The caller is alone with the store.
    mutating func leftovers() throws(LayerError) {
        for part in ["mnt", "diff"] {
            for name in try StoreFiles.names(in: store.home.appending(part)) {
                let path = store.home.appending(part).appending(name)
                guard try StoreFiles.isDirectory(path) else { continue }
                let id = LayerID(trusted: name)
                let isUnpacking = name.bytes.starts(with: Array(ContentSwap.prefix.utf8))
                guard !store.exists(id) || AUFSStore.isReserved(name) else { continue }
                if AUFSStore.isReserved(name) {
                    let what =
                        isUnpacking
                        ? "a layer that was being unpacked; what was unpacked is removed"
                        : "a layer that was being removed; its removal is ended"
                    try findings.add(.unfinished, path, what) { () throws(LayerError) in try Trash.remove(path) }
                } else if try MountTable.state(of: path) != .notMounted {
                    // In use by somebody: a mount is no leftover.
                    try findings.add(
                        .staleMount, path, "mounted, but no layer of this name is there; unmount it by hand")
                } else {
                    try findings.add(.unfinished, path, "belongs to no layer; it is removed") { () throws(LayerError) in
                        try Trash.remove(path)
                    }
                }
            }
        }
        for name in try StoreFiles.names(in: store.lists) where name.bytes.starts(with: Array(".tmp-".utf8)) {
            let path = store.lists.appending(name)
            try findings.add(.unfinished, path, "a file that was being written; it is removed") {
                () throws(LayerError) in
                try StoreFiles.unlink(path)
            }
        }
    }

    /// Lists of ancestors that are damaged, and layers without their directories.
    mutating func lists() throws(LayerError) {
        let (store, system) = (store, system)
        for id in try store.layers() {
            do throws(LayerError) {
                let ancestors = try store.ancestors(of: id)
                for (index, ancestor) in ancestors.enumerated() {
                    guard store.exists(ancestor) else {
                        try findings.add(.lower, store.list(id), "names \(ancestor), which is gone; remove the layer")
                        break
                    }
                    let below = try store.ancestors(of: ancestor)
                    guard index == 0, below != Array(ancestors.dropFirst()) else { continue }
                    let text = ([ancestor] + below).flatMap { $0.component.bytes + [UInt8(ascii: "\n")] }
                    try findings.add(.lower, store.list(id), "disagrees with its parent's; it is written anew") {
                        () throws(LayerError) in
                        try StoreFiles.write(text, to: store.list(id), mode: 0o644, durable: true)
                    }
                    break
                }
            } catch {
                guard error.code == .corruptLayer else { throw error }
                try findings.add(.lower, store.list(id), "is damaged; remove the layer")
            }
            guard try StoreFiles.isDirectory(store.contents(id)) else {
                try findings.add(.unfinished, store.list(id), "its directory is gone; the layer is removed") {
                    () throws(LayerError) in
                    try store.remove(id)
                }
                continue
            }
            if try system.state(of: store.mountPoint(id)) == .stale {
                try findings.add(.staleMount, store.mountPoint(id), "does not answer; it is unmounted") {
                    () throws(LayerError) in
                    try system.unmount(store.mountPoint(id))
                }
            }
        }
    }
}

extension AUFSStore {
    /// Ends what earlier processes began to remove, and removes what belongs to no layer, when nobody else has the store open.
    func sweep(_ lock: HomeLock, _ system: any AUFSMounts) throws(LayerError) {
        guard lock.wasAlone else { return }
        var check = AUFSCheck(self, system, repair: true)
        do throws(LayerError) {
            try check.leftovers()
        } catch {
            // Nobody is kept from the layers that are whole.
            log(.warning, "sweeping \(home): \(error)")
        }
        for finding in check.findings.list { log(.warning, finding.description) }
        try lock.share()
    }
}

extension AUFSDriver {
    public func check(repair: Bool) throws(LayerError) -> [Finding] {
        if repair, let refusal { throw refusal }
        func run(_ isAlone: Bool) throws(LayerError) -> [Finding] {
            var check = AUFSCheck(store, system, repair: repair)
            if isAlone { try check.leftovers() }
            try check.lists()
            return check.findings.list
        }
        guard let lock else { return try run(false) }
        return try lock.whileAlone { (isAlone) throws(LayerError) in try run(isAlone) }
    }
}
