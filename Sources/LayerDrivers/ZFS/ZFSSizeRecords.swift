import LayerModel
import LayerMounts
import LinuxIO

/// Sizes of layers, kept where Docker does not look : a file `<home>/sizes/<id>`, and a snapshot
/// `@ldiff-size` of the layer as it was when it was counted.
///
/// ZFS itself says whether the layer, or the parent that it was compared with, has changed since: not a block may have been
/// written. File and snapshot carry one random text, so that neither is believed beside another's partner. What a mounted
/// layer's programs write reaches the pool some seconds later, so a mounted layer is never answered for, and the driver
/// removes the file before it mounts the layer for writing.
struct ZFSSizeRecords: Sendable {
    static let directoryName = "sizes"
    static let snapshotName = "ldiff-size"
    /// The snapshot's property with the random text.
    static let property = "ldiff:size"
    static let heading = "ldiff-size 1"

    let view: ZFSView
    private let platform: ZFSPlatform
    let directory: PathBytes

    init(_ view: ZFSView, _ platform: ZFSPlatform, home: PathBytes) {
        self.view = view
        self.platform = platform
        directory = home.appending(Self.directoryName)
    }

    func path(_ id: LayerID) -> PathBytes { directory.appending(id.component) }
    func snapshot(_ id: LayerID) -> String { view.names.dataset(id) + "@" + Self.snapshotName }

    // MARK: the file

    private struct Record {
        var token: Substring
        /// Nil for a layer that was applied and not counted yet.
        var size: RecordedSize?
    }

    private func load(_ id: LayerID) -> Record? {
        guard let bytes = try? StoreFiles.read(path(id)) else { return nil }
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count == 5, lines[0] == Self.heading, lines[4].isEmpty, lines[1].hasPrefix("snapshot "),
            lines[2].hasPrefix("bytes "), lines[3].hasPrefix("entries ")
        else { return nil }
        var record = Record(token: lines[1].dropFirst("snapshot ".count))
        if let bytes = UInt64(lines[2].dropFirst("bytes ".count)),
            let entries = UInt64(lines[3].dropFirst("entries ".count))
        {
            record.size = RecordedSize(byteCount: bytes, entryCount: entries)
        }
        return record
    }

    /// Whether the file that is called as the layer's record is one, and not something else that lies there.
    func isRecord(_ id: LayerID) -> Bool { load(id) != nil }

    /// Whether the layer was applied, or counted before: nobody but a driver's user writes into such a layer.
    func isExpected(_ id: LayerID) -> Bool { load(id) != nil }

    // MARK: asking zfs

    /// The recorded size, if neither the layer nor the origin that it was compared with has changed; one program.
    func recorded(_ id: LayerID, origin: String?) -> RecordedSize? {
        guard let record = load(id), let size = record.size, isUnchanged(id, origin: origin, token: record.token) else {
            return nil
        }
        return size
    }

    func isUnchanged(_ id: LayerID, origin: String?, token: Substring) -> Bool {
        let dataset = view.names.dataset(id)
        let cut = origin?.firstIndex(of: "@")
        let parent = cut.flatMap { cut in origin.map { String($0[..<cut]) } }
        guard !isMounted([dataset, parent].compactMap { $0 }) else { return false }
        // Nothing written since the snapshot; zfs-fuse, which cannot say that, knows whether snapshots hold what the
        // dataset itself no longer holds.
        var (own, parents) = ("usedbysnapshots", "usedbysnapshots")
        if platform == .kernel {
            own = "written@" + Self.snapshotName
            parents = cut.flatMap { cut in origin.map { "written" + String($0[cut...]) } } ?? own
        }
        let properties = Set([Self.property, own, parents]).sorted().joined(separator: ",")
        let text = try? view.query.get(
            ["-Hp", "-o", "name,property,value", properties, snapshot(id), dataset]
                + (parent.map { [$0] } ?? []))
        guard let text else { return false }
        var values: [String: String] = [:]
        for line in String(decoding: text, as: UTF8.self).split(separator: "\n") {
            let fields = line.split(separator: "\t", omittingEmptySubsequences: false)
            if fields.count == 3 { values["\(fields[0]) \(fields[1])"] = String(fields[2]) }
        }
        return values["\(snapshot(id)) \(Self.property)"] == String(token) && values["\(dataset) \(own)"] == "0"
            && (parent.map { values["\($0) \(parents)"] == "0" } ?? true)
    }

    private func isMounted(_ datasets: [String]) -> Bool {
        guard let entries = try? MountTable.read().entries else { return true }
        let sources = datasets.map { PathBytes($0) }
        return entries.contains { sources.contains($0.source) }
    }

    /// The layers that have a file, sorted, and whatever else lies there.
    func files() throws(LayerError) -> [PathBytes] { try StoreFiles.names(in: directory) }
}
