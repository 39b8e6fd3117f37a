import LayerModel
import LayerMounts
import LinuxIO

/// The layers of a store whose contents are still to come: Docker makes a layer first and fills it in a second call.
///
/// Until then a file in the layer says so, and for everybody but the one who makes it there is no such layer. Its maker holds
/// the file's lock, so that others can tell a layer that is being made from one whose maker was killed.
final class UnfinishedLayers: Sendable {
    static let fileName = "ldiff-unfinished"

    /// How far a layer is.
    enum Stage: String {
        /// It is empty, and nothing else is known.
        case created
        /// Its contents were coming when this was written: without their maker they never will.
        case filling
    }

    private let writer: StoreWriter
    /// Locks of the marks that this process is responsible for.
    private let held = Monitor<[LayerID: FileLock]>([:])

    init(_ writer: StoreWriter) { self.writer = writer }

    /// Writes the mark of a layer that is being built.
    func write(_ mark: PathBytes) throws(LayerError) {
        try writer.write(Array((Stage.created.rawValue + "\n").utf8), to: mark, mode: 0o600)
    }

    /// Takes the responsibility for a layer that carries a mark; false where another process has it, or there is no mark.
    @discardableResult
    func adopt(_ id: LayerID, _ mark: PathBytes) throws(LayerError) -> Bool {
        if let lock = held.change({ $0[id] }), try lock.isAt(mark) { return true }
        for attempt in 1... {
            switch try FileLock.tryTake(mark, .exclusive) {
            case .absent: return false
            case .taken(let lock):
                held.change { $0[id] = lock }
                return true
            case .busy:
                // Who only looks holds it for a moment; a maker holds it for good.
                guard attempt < 10 else { return false }
                ProcessState.sleep(milliseconds: 1)
            }
        }
        return false
    }

    /// Takes over the layers among `names` that an earlier process of the same daemon was making. Those that nobody will fill
    /// any more are given to `remove`.
    func takeOver(
        _ names: [PathBytes], in view: some StoreView, _ configuration: DriverConfiguration,
        _ remove: (LayerID) throws(LayerError) -> Void
    ) throws(LayerError) {
        for id in names.map({ LayerID(trusted: $0) }) {
            let mark = view.unfinishedMark(id)
            guard (try? view.state(of: id)) == .unfinished, try adopt(id, mark), configuration.laterFilling == .begins,
                try Self.stage(mark) == .filling
            else { continue }
            configuration.log(.warning, "removing the layer \(id), which nobody will fill any more")
            do throws(LayerError) { try remove(id) } catch { configuration.log(.warning, "\(error)") }
        }
    }

    /// Whether a living process makes the layer that is not this one.
    func isOthers(_ id: LayerID, _ mark: PathBytes) throws(LayerError) -> Bool {
        if let lock = held.change({ $0[id] }), try lock.isAt(mark) { return false }
        return try Self.hasMaker(mark)
    }

    /// Says that the contents of a layer are coming now, if it is one whose contents were to come. The mark stays the same file,
    /// which is locked.
    func beginFilling(_ id: LayerID, _ mark: PathBytes) throws(LayerError) {
        guard try adopt(id, mark) else { return }
        try attempt("mark the layer", mark) { () throws(SystemCallError) in
            let text = Array((Stage.filling.rawValue + "\n").utf8)
            try mark.open([.writeOnly, .noFollow, .truncate]).writeAll(text.rawBytes)
        }
    }

    /// Takes the mark away: the layer is what it should be. Without a mark nothing happens.
    func finish(_ id: LayerID, _ mark: PathBytes) throws(LayerError) {
        try writer.unlink(mark)
        forget(id)
    }

    /// Lets go of a layer that is gone.
    func forget(_ id: LayerID) { held.change { $0[id] = nil } }

    /// The stage that a mark tells; nil without one.
    static func stage(_ mark: PathBytes) throws(LayerError) -> Stage? {
        guard let text = try StoreFiles.read(mark) else { return nil }
        // Cut short by a power failure: then it was not more than made.
        return Stage(rawValue: String(decoding: text.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)) ?? .created
    }

    /// Whether a process that makes the layer is alive.
    static func hasMaker(_ mark: PathBytes) throws(LayerError) -> Bool {
        if case .busy = try FileLock.tryTake(mark, .shared) { return true }
        return false
    }
}
