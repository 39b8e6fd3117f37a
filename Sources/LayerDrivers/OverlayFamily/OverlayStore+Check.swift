import LayerEngine
import LayerModel
import LayerMounts
import LinuxIO

/// What crashes leave in a store of the overlay family, and how it is mended (drivers.md 15).
struct OverlayCheck {
    let store: OverlayStore
    private(set) var findings: Findings

    init(_ store: OverlayStore, repair: Bool) {
        self.store = store
        findings = Findings(repair: repair)
    }

    /// Looks at everything. `isAlone` says whether no other process has the store open: only then is what looks unfinished
    /// really left over.
    mutating func run(isAlone: Bool) throws(LayerError) {
        if isAlone { try leftovers() }
        let names = try StoreFiles.names(in: store.home).filter { !OverlayStore.isReserved($0) }
        for name in names where try StoreFiles.isDirectory(store.home.appending(name)) {
            try layer(LayerID(trusted: name), isAlone)
        }
        try lowers()
        try links()
        try mounts()
    }

    private mutating func leftovers() throws(LayerError) {
        for path in try store.trash.leftovers() {
            try findings.add(.unfinished, path, "a layer that was being made or removed; it is removed") {
                () throws(LayerError) in
                try Trash.remove(path)
            }
        }
        for directory in [store.home, store.home.appending("userxattr-check")] {
            for name in try StoreFiles.names(in: directory)
            where OverlayStore.probePrefixes.contains(where: { name.bytes.starts(with: Array($0.utf8)) }) {
                let path = directory.appending(name)
                try findings.add(.probe, path, "left by a probe of the kernel; it is removed") {
                    () throws(LayerError) in
                    try Trash.remove(path)
                }
            }
        }
    }

    private mutating func layer(_ id: LayerID, _ isAlone: Bool) throws(LayerError) {
        let directory = store.layer(id)
        if isAlone {
            for name in try StoreFiles.names(in: directory)
            where name.bytes.starts(with: Array(ContentSwap.prefix.utf8))
                || name.bytes.starts(with: Array(".tmp-".utf8))
            {
                let path = directory.appending(name)
                try findings.add(.unfinished, path, "a layer that was being unpacked; what was unpacked is removed") {
                    () throws(LayerError) in try Trash.remove(path)
                }
            }
            try mergedDirectory(id)
        }
        try link(id, isAlone)
        let record = store.record(of: id)
        if let recorded = record.load() {
            let size = try DiffEngine.size(SourceOptions(upper: store.contents(id)))
            if size.bytes != recorded.byteCount {
                try findings.add(
                    .recordedSize, directory.appending(SizeRecordFile.fileName),
                    "says \(recorded.byteCount) bytes where there are \(size.bytes); it is forgotten"
                ) { () throws(LayerError) in try record.forget() }
            }
        }
    }

    /// An empty mount point is made for each mount and removed after it; containers/storage keeps it.
    private mutating func mergedDirectory(_ id: LayerID) throws(LayerError) {
        let merged = store.merged(id)
        guard try StoreFiles.metadata(store.home.appending(".has-mount-program")) == nil,
            try MountTable.state(of: merged) == .notMounted, try StoreFiles.isDirectory(merged),
            try StoreFiles.isEmpty(merged)
        else { return }
        try findings.add(.unfinished, merged, "a mount point without a mount; it is removed") { () throws(LayerError) in
            try StoreFiles.removeDirectory(merged)
        }
    }

    private mutating func link(_ id: LayerID, _ isAlone: Bool) throws(LayerError) {
        let store = store
        let path = store.layer(id).appending("link")
        guard let link = try store.writtenLink(of: id) else {
            if let link = try store.linkLeading(to: id) {
                return try findings.add(.link, path, "missing or empty; it is written anew from l/\(link.name)") {
                    () throws(LayerError) in
                    try StoreFiles.write(link.name.bytes, to: path, mode: 0o644, durable: true)
                }
            }
            let contents = store.contents(id)
            guard try StoreFiles.isDirectory(contents), try !StoreFiles.isEmpty(contents) else {
                guard isAlone, try holdsOnlyLayerParts(id) else { return }
                return try findings.add(
                    .unfinished, store.layer(id), "a layer without link and contents; it is removed"
                ) {
                    () throws(LayerError) in
                    if let taken = try store.trash.take(store.layer(id)) { try Trash.remove(taken) }
                }
            }
            return try findings.add(.link, path, "missing, and no name in l/ leads to the layer; a new one is made") {
                () throws(LayerError) in
                let link = ShortLink.random()
                try store.makeLink(link, for: id)
                try StoreFiles.write(link.name.bytes, to: path, mode: 0o644, durable: true)
            }
        }
        if try StoreFiles.readLink(store.path(of: link)) != ShortLink.target(id) {
            try findings.add(
                .link, store.path(of: link), "does not lead to the layer \(id), whose name it is; it is made anew"
            ) {
                () throws(LayerError) in
                try StoreFiles.unlink(store.path(of: link))
                try store.makeLink(link, for: id)
            }
        }
    }

    /// Whether nothing in the directory is foreign: only then may it be taken for a layer.
    private func holdsOnlyLayerParts(_ id: LayerID) throws(LayerError) -> Bool {
        let parts = ["diff", "work", "merged", "lower", "link", "committed", SizeRecordFile.fileName]
        return try StoreFiles.names(in: store.layer(id)).allSatisfy { parts.contains($0.description) }
    }

    /// Every `lower` file must name layers that are there. An empty one is rebuilt from a child, which repeats it.
    private mutating func lowers() throws(LayerError) {
        let store = store
        let owners = try store.linkOwners()
        for (link, id) in owners.sorted(by: { $0.value < $1.value }) {
            let path = store.layer(id).appending("lower")
            guard let text = try StoreFiles.read(path) else { continue }
            guard let links = LowerChain.links(in: text) else {
                if let rebuilt = try lowerFromChild(of: link, owners) {
                    try findings.add(
                        .lower, path, "is empty or damaged; it is rebuilt from what a child of the layer says"
                    ) {
                        () throws(LayerError) in
                        try StoreFiles.write(LowerChain.text(rebuilt), to: path, mode: 0o644, durable: true)
                    }
                } else {
                    try findings.add(.lower, path, "is empty or damaged; remove the layer \(id) and unpack it again")
                }
                continue
            }
            for lower in links where owners[lower] == nil {
                let leads = try store.layer(of: lower)
                if let leads, try StoreFiles.isDirectory(store.contents(leads)) { continue }
                try findings.add(
                    .lower, path,
                    "names l/\(lower.name), whose layer is gone; remove the layer \(id) and unpack it again")
            }
        }
    }

    private func lowerFromChild(
        of link: ShortLink, _ owners: [ShortLink: LayerID]
    ) throws(LayerError) -> [ShortLink]? {
        for id in owners.values {
            guard let text = try StoreFiles.read(store.layer(id).appending("lower")),
                let links = LowerChain.links(in: text), let position = links.firstIndex(of: link),
                position + 1 < links.count
            else { continue }
            return Array(links[(position + 1)...])
        }
        return nil
    }

    /// Names in `l/` that lead nowhere and that no layer's chain uses.
    private mutating func links() throws(LayerError) {
        let store = store
        for name in try StoreFiles.names(in: store.links) {
            let path = store.links.appending(name)
            guard let target = try StoreFiles.readLink(path), let id = ShortLink.layer(target: target) else { continue }
            if try StoreFiles.metadata(store.layer(id)) == nil {
                try findings.add(.link, path, "leads to the layer \(id), which is gone; it is removed") {
                    () throws(LayerError) in try StoreFiles.unlink(path)
                }
            }
        }
    }

    /// Mounts below the store whose layer is gone or whose server is dead.
    private mutating func mounts() throws(LayerError) {
        for entry in try MountTable.read().entries(atOrBelow: store.home) where entry.mountPoint != store.home {
            let point = entry.mountPoint
            guard let layer = point.splitLast(), layer.name == PathBytes("merged"),
                let id = layer.directory.splitLast(), id.directory == store.home
            else { continue }
            let isDead = try MountTable.state(of: point) == .stale
            guard isDead || !store.exists(LayerID(trusted: id.name)) else { continue }
            try findings.add(
                .staleMount, point,
                isDead ? "its server is dead; it is unmounted" : "its layer is gone; it is unmounted"
            ) { () throws(LayerError) in
                try KernelMount.unmount(point, [.detach, .noFollow])
                try? StoreFiles.removeDirectory(point)
            }
        }
    }
}

extension OverlayStore {
    /// The record of the layer's size.
    func record(of id: LayerID) -> SizeRecordFile {
        SizeRecordFile(layer: layer(id), contents: contents(id), work: work(id))
    }

    /// Removes what earlier processes left half made, when nobody else has the store open.
    func sweep(_ lock: HomeLock) throws(LayerError) {
        guard lock.wasAlone else { return }
        for path in try trash.leftovers() {
            log(.warning, "removing what a crash left: \(path)")
            try Trash.remove(path)
        }
        for name in try StoreFiles.names(in: links) {
            let path = links.appending(name)
            guard let id = try StoreFiles.readLink(path).flatMap(ShortLink.layer) else { continue }
            if try StoreFiles.metadata(layer(id)) == nil {
                log(.warning, "removing the link \(path) to a layer that is gone")
                try StoreFiles.unlink(path)
            }
        }
        try lock.share()
    }
}
