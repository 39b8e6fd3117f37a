import LayerModel
import LayerMounts
import LinuxIO

/// One lock for each layer that holds among the threads of this process and among processes.
///
/// Between processes what is locked is the layer's own directory or file, so nothing is left of a lock, and one that a killed
/// process held is free. Not recursive, and never held while a stream goes to or comes from anybody.
struct LayerGuard: Sendable {
    private let locks = LayerLocks<LayerID>()
    /// What is locked of a layer; nil where there is no such layer, and for what is no layer.
    private let place: @Sendable (LayerID) throws(LayerError) -> PathBytes?

    init(_ place: @escaping @Sendable (LayerID) throws(LayerError) -> PathBytes?) { self.place = place }

    /// Runs `body` while nobody else works on `id`, nor alone on `parent`, which others may share. `body` gets the lock of
    /// the layer, nil where there is none yet: then whoever makes one is stopped by its name.
    func withLock<Result: ~Copyable>(
        _ id: LayerID, sharing parent: LayerID? = nil, _ body: (FileLock?) throws(LayerError) -> Result
    ) throws(LayerError) -> Result {
        try locks.withLock(id, sharing: parent) { () throws(LayerError) in
            let own = try take(id, .exclusive)
            let below = try parent.map { (parent) throws(LayerError) in try take(parent, .shared) }
            defer { withExtendedLifetime((own, below)) {} }
            return try body(own)
        }
    }

    private func take(_ id: LayerID, _ kind: LockKind) throws(LayerError) -> FileLock? {
        guard let path = try place(id) else { return nil }
        return try FileLock.take(path, kind)
    }
}
