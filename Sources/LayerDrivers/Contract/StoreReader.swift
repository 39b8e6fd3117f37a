public import LayerModel
import LinuxIO

/// Whether a store has a layer.
public enum LayerState: Sendable, Equatable {
    case absent
    /// It was made, and its contents are still to come: only who makes it may know of it.
    case unfinished
    case complete
}

/// A store of layers that is looked at.
///
/// Nothing here changes anything: not a lock file, not a mount, not a time. So a store can be looked at where it cannot be
/// written to, by whoever may read its files, and beside a daemon that uses it. What changes a store is `LayerDriver`.
///
/// All calls may come from any thread. They block.
public protocol StoreReader: AnyObject, Sendable {
    var name: DriverName { get }
    var configuration: DriverConfiguration { get }

    /// Whether the store has a layer of this id.
    ///
    /// Throws where it cannot be told, because a disk fails or its files may not be read: such a layer may well be there.
    func state(of id: LayerID) throws(LayerError) -> LayerState

    /// All layers of the store, sorted; half-made ones left out.
    func layers() throws(LayerError) -> [LayerID]

    /// The layer's parent, or nil for a base layer.
    func parent(of id: LayerID) throws(LayerError) -> LayerID?

    /// Facts about the store, in the order in which Docker shows them.
    func status() -> [StatusRow]

    /// Facts about one layer: its directories.
    func metadata(of id: LayerID) throws(LayerError) -> [MetadataItem]

    /// What the layer's own directory occupies.
    func readWriteDiskUsage(of id: LayerID) throws(LayerError) -> DiskUsage

    /// How many bytes the layer may hold, where it was made with such a limit.
    func sizeLimit(of id: LayerID) throws(LayerError) -> UInt64?

    /// Read-only stores besides this one.
    var additionalImageStores: [PathBytes] { get }

    /// Where the difference between `id` and `parent` (any other layer; nil: nothing) is read.
    ///
    /// The layer's own directory where that tells it; else the views of both, which are compared as they lie there.
    func changeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource

    /// Where the bytes of the difference are counted: the layer's own directory wherever that is right for these two, even
    /// where the difference itself needs a comparison.
    func sizeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource

    /// The size that was recorded when the layer was applied, if nothing has changed it since; nil when it is unknown.
    func recordedSize(of id: LayerID, since parent: LayerID?) -> RecordedSize?

    /// The layer's own tar, where the store has kept it and it is what turns `parent` into the layer; nil where that has to be
    /// made.
    func storedStream(of id: LayerID, since parent: LayerID?) throws(LayerError) -> StoredStream?

    /// The layer's files by the names of its archive, for tar-split.
    func files(of id: LayerID) throws(LayerError) -> LayerFiles

    /// Looks once for what a crash left. What others are doing at this moment may be among it: `check` tells the two apart.
    func look() throws(LayerError) -> [Finding]
}

extension StoreReader {
    public var additionalImageStores: [PathBytes] { [] }

    /// Looks for what a crash left. What others do at this moment looks like it for an instant, so what is told was seen in
    /// several looks, a moment apart.
    public func check() throws(LayerError) -> [Finding] {
        var found = try lookPatiently()
        for _ in 0..<3 where !found.isEmpty {
            ProcessState.sleep(milliseconds: 50)
            let again = try lookPatiently()
            found.removeAll { !again.contains($0) }
        }
        return found
    }

    /// A layer that was just listed may be gone.
    private func lookPatiently() throws(LayerError) -> [Finding] {
        for _ in 0..<20 {
            do throws(LayerError) { return try look() } catch {
                guard error.code == .notFound else { throw error }
                ProcessState.sleep(milliseconds: 10)
            }
        }
        return try look()
    }

    /// Whether the store has a complete layer of this id. Throws as `state`.
    public func exists(_ id: LayerID) throws(LayerError) -> Bool { try state(of: id) == .complete }

    public func sizeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource {
        try changeSource(of: id, since: parent)
    }

    public func recordedSize(of id: LayerID, since parent: LayerID?) -> RecordedSize? { nil }
    public func sizeLimit(of id: LayerID) throws(LayerError) -> UInt64? { nil }
    public func storedStream(of id: LayerID, since parent: LayerID?) throws(LayerError) -> StoredStream? { nil }
}
