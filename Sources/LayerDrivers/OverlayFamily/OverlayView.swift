import LayerModel
import LayerMounts
import LinuxIO

/// The layout that overlay2 and fuse-overlayfs share, looked at: a directory a layer, short links to their contents. Docker's,
/// and readable by containers/storage.
///
/// A layer directory holds `diff`, `link`, and with a parent `lower` and `work`; `merged` while it is mounted; `committed`
/// once it has a child.
struct OverlayView: MergedView {
    /// Names in the home directory that are no layers, in Docker's and in containers/storage's stores.
    static let reserved: Set<String> = [
        "l", "staging", "staging.lock", WorkArea.directoryName, "backingFsBlockDev", ".has-mount-program",
        "userxattr-check", "mapped", packedMark,
    ]

    /// What the directory is called in which a layer's own tar lies, with the index that is mounted.
    static let packedName = "packed"
    /// The file in the home directory that says that layers may be packed: who does not know of that would see them empty.
    static let packedMark = "ldiff-packed"

    /// Docker's names, containers/storage's, and ours.
    private static let commonParts = LayerParts(
        directories: ["diff", "work", "merged", "empty", "mapped", "composefs-data"],
        files: ["link", "lower", "committed", SizeRecordFile.fileName, UnfinishedLayers.fileName, "additionallayer"],
        essential: [["diff", "link"], ["diff", UnfinishedLayers.fileName]])
    private static let packedParts = {
        var parts = commonParts
        parts.directories.insert(packedName)
        return parts
    }()
    var parts: LayerParts { holdsPacked ? Self.packedParts : Self.commonParts }

    let home: PathBytes
    let driver: DriverName
    let additional: AdditionalStores
    let seesUnfinished: Bool
    /// How packed layers are mounted.
    let packedWay: PackedWay

    init(
        _ configuration: DriverConfiguration, _ driver: DriverName, additional: AdditionalStores = .none,
        packedWay: PackedWay = .auto
    ) {
        self.packedWay = packedWay
        home = configuration.home
        self.driver = driver
        self.additional = additional
        seesUnfinished = configuration.seesUnfinished
    }

    /// The layer's directory: in this store, or where only an additional one has it, there.
    func layer(_ id: LayerID) -> PathBytes { foreign(id) ?? home.appending(id.component) }
    func contents(_ id: LayerID) -> PathBytes { layer(id).appending("diff") }
    func work(_ id: LayerID) -> PathBytes { layer(id).appending("work") }
    /// The mount point. A layer of another store has it in this one.
    func merged(_ id: LayerID) -> PathBytes {
        guard foreign(id) != nil else { return home.appending(id.component).appending("merged") }
        let above = home.appending(WorkArea.directoryName)
        return above.appending(PathBytes(Self.foreignMounts + id.component.bytes)).appending("merged")
    }

    func ownDirectories(_ id: LayerID) -> [PathBytes] {
        let short = (try? writtenLink(of: id)).map { PathBytes("l").appending($0.name) }
        return [id.component.appending("diff"), id.component.appending("work")] + (short.map { [$0] } ?? [])
    }

    /// How the directories begin in which layers of other stores are mounted.
    static let foreignMounts = Array("ldiff-mount-".utf8)

    /// The directory of a layer that only an additional store has.
    func foreign(_ id: LayerID) -> PathBytes? {
        guard !additional.homes.isEmpty else { return nil }
        let isOwn = StoreFiles.mayBe { () throws(LayerError) in
            try StoreFiles.metadata(home.appending(id.component)) != nil
        }
        return isOwn ? nil : additional.layer(id)
    }
    var links: PathBytes { home.appending("l") }

    func validate(_ id: LayerID) throws(LayerError) {
        if Self.isReserved(id.component) { throw DriverErrors.reserved(id, driver) }
    }

    static func isReserved(_ name: PathBytes) -> Bool {
        reserved.contains(name.description)
            || probePrefixes.contains { name.bytes.starts(with: Array($0.utf8)) }
    }

    /// How directories begin in which Docker, containers/storage or ldiff try out the kernel.
    static let probePrefixes = ProbeKind.allCases.map(\.rawValue) + [ProbeKind.dummyFile, ".tmp-"]

    /// One without a usable `link` was being made when a daemon died, unless a name in `l/` still leads to it. A directory with
    /// the link of another layer is a copy that somebody made of that one.
    func state(of id: LayerID) throws(LayerError) -> LayerState {
        guard !Self.isReserved(id.component) else { return .absent }
        do throws(LayerError) {
            guard let link = try link(of: id), try !isCopy(id, link) else { return .absent }
            return try StoreFiles.metadata(unfinishedMark(id)) == nil ? .complete : .unfinished
        } catch {
            guard error.saysOtherForm else { throw error }
            return .absent
        }
    }

    /// Whether the name `link`, which `id` has written, is another layer's.
    private func isCopy(_ id: LayerID, _ link: ShortLink) throws(LayerError) -> Bool {
        guard let owner = try layer(of: link), owner != id else { return false }
        return try isName(link, of: owner)
    }

    /// Whether `link`, which leads to the layer, is its name: by its own word, or where that is lost or empty, because no other
    /// name leads to it.
    func isName(_ link: ShortLink, of id: LayerID) throws(LayerError) -> Bool {
        guard try StoreFiles.isDirectory(contents(id)) else { return false }
        if let written = try writtenLink(of: id) { return written == link }
        return try linksLeading(to: id) == [link]
    }

    /// A complete layer is known by its link, which leads back to it: whatever else somebody put into its directory goes with
    /// it. Any other directory is a layer's if nothing else is in it.
    func form(of id: LayerID) throws(LayerError) -> LayerForm {
        let path = home.appending(id.component)
        return try LayerForm.seen(at: path) { () throws(LayerError) in try look(at: path, id) }
    }

    private func look(at path: PathBytes, _ id: LayerID) throws(LayerError) -> LayerForm {
        guard try StoreFiles.isDirectory(path) else { return try parts.prove(id, path, isRecorded: false) }
        var isRecorded = false
        var parts = parts
        if let link = try writtenLink(of: id) {
            if try isCopy(id, link) { return .foreign("it is a copy of the layer whose link it holds") }
            if try layer(of: link) == id { isRecorded = try StoreFiles.isDirectory(contents(id)) }
        } else if try linkLeading(to: id) != nil {
            // Its own file is lost or empty.
            isRecorded = try StoreFiles.isDirectory(contents(id))
        } else if !id.isDockers {
            // Docker's may be empty after a power failure. Any other file called `link` is anybody's.
            parts.essential.removeAll { $0.contains("link") }
        }
        return try parts.prove(id, path, isRecorded: isRecorded)
    }

    /// Whether a child was made on the layer, which must then never be written again.
    func isCommitted(_ id: LayerID) throws(LayerError) -> Bool {
        if foreign(id) != nil { return true }
        return try StoreFiles.metadata(layer(id).appending("committed")) != nil
    }

    /// The record of the layer's size.
    func record(of id: LayerID) -> SizeRecordFile {
        SizeRecordFile(layer: layer(id), contents: contents(id), work: work(id))
    }
}
