import LayerCompression
import LayerModel
import LinuxIO

/// Decides, ahead of whoever puts a tar together, where each file's contents come from, and has workers inflate what must be
/// fetched.
final class PartialPlan {
    /// A part of a file's contents, in order.
    enum Step {
        /// All of it lies here.
        case whole(ReusedPlace)
        case reused(ReusedPlace, piece: Int)
        case zeros(Int64)
        case fetched(InflateJob, Int)
        /// Too long for one slab: whoever comes reads it himself.
        case large(piece: Int, frame: Range<UInt64>)
    }

    /// Steps of one file.
    private enum Planned {
        case whole(ReusedPlace)
        case reused(ReusedPlace, piece: Int)
        case zeros(Int64)
        case fetched(Batch, Int)
        case large(piece: Int, frame: Range<UInt64>)
    }

    /// Pieces that go to a worker together.
    private final class Batch {
        var pieces: [InflatedPiece] = []
        var outputBytes = 0
        var job: InflateJob?
        var isDone = false
    }

    private let layer: PartialLayer
    private let reuse: (any ReusableContents)?
    private let fetch: (([Range<UInt64>]) throws(LayerError) -> Void)?
    private let inflater: FrameInflater
    private let outputs = SlabPool(slabCapacity: PartialPlan.batchBytes, keep: 8)
    private var planned: [(file: Int, step: Planned)] = []
    private var taken = 0
    /// The file that is planned next.
    private var ahead = 0
    private var open = Batch()
    private var unsent: [Batch] = []
    private var inFlight = 0
    private var held: InflateJob?

    /// Bytes that are inflated and not yet used, at most; and of one batch, inflated and compressed.
    private static let window = 16 << 20
    private static let batchBytes = 2 << 20
    private static let batchInput: UInt64 = 1 << 20
    /// The longest piece that a worker inflates as a whole.
    private static let longest = 8 << 20
    /// The most bytes between two pieces that are read though nobody needs them.
    private static let gap: UInt64 = 4096

    init(
        _ layer: PartialLayer, _ reuse: (any ReusableContents)?, workers: Int,
        _ fetch: (([Range<UInt64>]) throws(LayerError) -> Void)?
    ) throws(LayerError) {
        self.layer = layer
        self.reuse = reuse
        self.fetch = fetch
        inflater = try FrameInflater(layer.index.location.format.plain, workers: workers)
    }

    /// Begins anew; what workers still do goes to nobody.
    func rewind() throws(LayerError) {
        for batch in unsent + planned.compactMap({ if case .fetched(let batch, _) = $0.step { batch } else { nil } }) {
            if let job = batch.job, !batch.isDone {
                inflater.wait(for: job)
                batch.isDone = true
            }
        }
        (planned, taken, ahead, open, unsent, inFlight, held) = ([], 0, 0, Batch(), [], 0, nil)
    }

    /// The next part of a file: files come in order.
    func next(_ file: Int) throws(LayerError) -> Step {
        try plan()
        guard taken < planned.count, planned[taken].file == file else {
            throw LayerError(.corruptLayer, "apply", cause: .reason("table and tar-split differ in order"))
        }
        let step = planned[taken].step
        taken += 1
        if taken == 4096 || taken == planned.count {
            planned.removeFirst(taken)
            taken = 0
        }
        switch step {
        case .whole(let place): return .whole(place)
        case .reused(let place, let piece): return .reused(place, piece: piece)
        case .zeros(let count): return .zeros(count)
        case .large(let piece, let frame):
            try fetch?([frame])
            return .large(piece: piece, frame: frame)
        case .fetched(let batch, let index):
            if batch === open { close() }
            try send()
            guard let job = batch.job else { preconditionFailure("a batch was sent") }
            if !batch.isDone {
                inflater.wait(for: job)
                batch.isDone = true
                inFlight -= batch.outputBytes
                if let held, held.output.capacity == Self.batchBytes { outputs.give(held.output) }
                held = job
            }
            return .fetched(job, index)
        }
    }

    /// A file that was to be reused as a whole is fetched.
    func fetchInstead(file: Int) {
        let entry = layer.index.table.entries[Int(layer.files[file])]
        insert(entry.pieces.map { (file, alone($0)) })
    }

    /// A piece that was to be reused is fetched.
    func fetchInstead(piece: Int, of file: Int) {
        insert([(file, alone(piece))])
    }

    private func insert(_ steps: [(file: Int, step: Planned)]) {
        planned.insert(contentsOf: steps, at: taken)
    }

    private func alone(_ index: Int) -> Planned {
        let piece = layer.index.table.pieces[index]
        if piece.isZeros { return .zeros(piece.byteCount) }
        guard piece.byteCount <= Self.longest, piece.innerOffset <= Self.longest else {
            return .large(piece: index, frame: frame(index))
        }
        let batch = Batch()
        add(index, to: batch)
        unsent.append(batch)
        return .fetched(batch, 0)
    }

    // MARK: ahead

    /// Plans files until enough is under way.
    private func plan() throws(LayerError) {
        while ahead < layer.files.count, inFlight + open.outputBytes < Self.window, planned.count - taken < 4096 {
            planFile(ahead)
            ahead += 1
            if fetch == nil { try send() }
        }
        if ahead == layer.files.count, !open.pieces.isEmpty { close() }
        if fetch == nil { try send() }
    }

    private func planFile(_ file: Int) {
        let entry = layer.index.table.entries[Int(layer.files[file])]
        if let reuse, let digest = entry.digest, let place = reuse.file(digest, entry.size) {
            planned.append((file, .whole(place)))
            return
        }
        for index in entry.pieces {
            let piece = layer.index.table.pieces[index]
            if piece.isZeros {
                planned.append((file, .zeros(piece.byteCount)))
            } else if let reuse, let digest = piece.digest, let place = reuse.piece(digest, piece.byteCount) {
                planned.append((file, .reused(place, piece: index)))
            } else if piece.byteCount > Self.longest || piece.innerOffset > Self.longest {
                planned.append((file, .large(piece: index, frame: frame(index))))
            } else {
                let next = frame(index)
                if let last = open.pieces.last, let first = open.pieces.first,
                    open.outputBytes + Int(piece.byteCount) > Self.batchBytes
                        || next.upperBound - first.frame.lowerBound > Self.batchInput
                        || next.lowerBound > last.frame.upperBound + Self.gap
                {
                    close()
                }
                add(index, to: open)
                planned.append((file, .fetched(open, open.pieces.count - 1)))
            }
        }
    }

    private func add(_ index: Int, to batch: Batch) {
        let piece = layer.index.table.pieces[index]
        batch.pieces.append(
            InflatedPiece(
                frame: frame(index), innerOffset: Int(piece.innerOffset), byteCount: Int(piece.byteCount),
                digest: piece.digest))
        batch.outputBytes += Int(piece.byteCount)
    }

    /// Where a piece's frame lies: no further than its contents can need.
    private func frame(_ index: Int) -> Range<UInt64> {
        let table = layer.index.table
        let piece = table.pieces[index]
        var end = index + 1 < table.pieces.count ? table.pieces[index + 1].offset : layer.index.dataEnd
        if end <= piece.offset { end = layer.index.dataEnd }
        if let entry = ends[index] { end = min(end, entry) }
        let whole = UInt64(piece.innerOffset + piece.byteCount)
        return piece.offset..<min(end, piece.offset + whole + whole / 64 + 65_536)
    }

    /// Where the files end whose last piece that is.
    private lazy var ends: [Int: UInt64] = {
        var ends: [Int: UInt64] = [:]
        for entry in layer.index.table.entries {
            if let end = entry.endOffset, let last = entry.pieces.last { ends[last] = end }
        }
        return ends
    }()

    private func close() {
        guard !open.pieces.isEmpty else { return }
        unsent.append(open)
        inFlight += open.outputBytes
        open = Batch()
    }

    /// Hands what was closed to the workers; before that, what lies elsewhere is fetched, all at once.
    private func send() throws(LayerError) {
        guard !unsent.isEmpty else { return }
        let batches = unsent
        unsent = []
        if let fetch {
            try fetch(
                batches.compactMap { batch in
                    guard let first = batch.pieces.first, let last = batch.pieces.last else { return nil }
                    return first.frame.lowerBound..<last.frame.upperBound
                })
        }
        for batch in batches {
            let output =
                batch.outputBytes <= Self.batchBytes ? outputs.take() : Slab(capacity: batch.outputBytes)
            let job = InflateJob(batch.pieces, of: layer.file, output: output)
            batch.job = job
            try inflater.submit(job)
        }
    }
}
