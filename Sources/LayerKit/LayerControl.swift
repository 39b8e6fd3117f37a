import LayerCompression
public import LayerModel
package import LayerPipeline
import LinuxIO
import Synchronization

/// How a job runs: with how many threads, by which calls; how far it is; and how to stop it.
///
/// Shared with whoever watches the job, from any thread. One control may serve several jobs, one after the other or at once:
/// `cancel` then stops all of them, and progress is their last one's.
public final class LayerControl: Sendable {
    /// Threads that walk, read and write; nil means one a core.
    public let workers: Int?
    /// Who decides between plain calls and io_uring.
    public let io: IOMode

    package let interruption: Interruption
    private let watched = Mutex(Watched())

    private struct Watched {
        var layer: Progress?
        var input: ImportProgress?
    }

    /// A control that nobody has cancelled.
    public convenience init(workers: Int? = nil, io: IOMode = .auto) {
        self.init(workers: workers, io: io, interruption: Interruption())
    }

    /// One that stops with others.
    package init(workers: Int?, io: IOMode, interruption: Interruption) {
        self.workers = workers
        self.io = io
        self.interruption = interruption
    }

    /// Stops the job for good, from any thread, also where it waits for a pipe: it ends with `cancelled` and leaves nothing
    /// half-made. May be called at any time, and more than once.
    public func cancel() { interruption.interrupt() }

    /// Whether `cancel` was called.
    public var isCancelled: Bool { interruption.flag.isCancelled }

    /// How far the job is. Cheap: meant to be asked several times a second.
    public var progress: LayerProgress {
        watched.withLock { watched in
            var progress = LayerProgress()
            guard let layer = watched.layer else { return progress }
            progress.entries = layer.entries.load(ordering: .relaxed)
            progress.bytes = layer.bytes.load(ordering: .relaxed)
            progress.totalEntries = Self.known(layer.totalEntries.load(ordering: .relaxed))
            progress.totalBytes = Self.known(layer.totalBytes.load(ordering: .relaxed))
            if let input = watched.input {
                progress.inputBytes = input.input.value
                progress.totalInputBytes = Self.known(input.inputTotal.load(ordering: .relaxed))
            }
            return progress
        }
    }

    private static func known(_ total: UInt64) -> UInt64? { total == 0 ? nil : total }

    /// Counters of a job on its way out that begins.
    func beginWriting() -> Progress {
        let progress = Progress()
        watched.withLock { $0 = Watched(layer: progress, input: nil) }
        return progress
    }

    /// Counters of a job on its way in that begins.
    func beginReading() -> ImportProgress {
        let progress = ImportProgress()
        watched.withLock { $0 = Watched(layer: progress.layer, input: progress) }
        return progress
    }
}

/// How far a job is.
public struct LayerProgress: Sendable, Equatable {
    /// Entries done.
    public var entries: UInt64 = 0
    /// Bytes of the uncompressed tar done.
    public var bytes: UInt64 = 0
    /// Entries in all, nil while unknown.
    public var totalEntries: UInt64?
    /// Bytes in all, nil while unknown.
    public var totalBytes: UInt64?
    /// Compressed bytes read of a layer that is applied.
    public var inputBytes: UInt64 = 0
    /// The same in all, nil where nobody knows, as for a pipe.
    public var totalInputBytes: UInt64?

    /// Nothing yet.
    public init() {}
}
