import LayerModel
import LinuxIO

/// One piece on its way through a crew. The caller fills it, one worker deflates it, the caller writes it out;
/// it changes hands under the crew's lock, which is what `@unchecked Sendable` stands for.
final class DeflateJob: @unchecked Sendable {
    let piece: Slab
    let history: Int
    let output: Slab
    fileprivate(set) var checksum: UInt32 = 0

    init(piece: Slab, history: Int, output: Slab) {
        self.piece = piece
        self.history = history
        self.output = output
    }

    func run(_ deflater: PieceDeflater) {
        checksum = deflater.deflate(piece, history: history, into: output)
    }
}

/// Threads that deflate pieces. They start when work piles up and end with `stop`.
final class DeflateCrew: Sendable {
    fileprivate struct State {
        var waiting: [DeflateJob] = []
        var done: [ObjectIdentifier] = []
        var idle = 0
        var isStopped = false
    }

    private let level: Int
    private let workers: Int
    private let monitor = Monitor(State())
    private let threads = HelperThreads()

    init(level: Int, workers: Int) {
        self.level = level
        self.workers = workers
    }

    /// Hands a piece to the next free worker, starting one more thread when none is free.
    func submit(_ job: DeflateJob) throws(LayerError) {
        let isShort = monitor.change { state in
            state.waiting.append(job)
            return state.idle < state.waiting.count
        }
        if isShort, threads.count < workers { try threads.start { [self] in work() } }
    }

    /// Waits until `job` is deflated.
    func wait(for job: DeflateJob) {
        monitor.wait { $0.claim(job) ? () : nil }
    }

    /// Whether `job` is deflated; says so once.
    func isDone(_ job: DeflateJob) -> Bool {
        monitor.change { $0.claim(job) }
    }

    /// Drops what waits, and waits for the threads to end.
    func stop() {
        monitor.change { state in
            state.isStopped = true
            state.waiting.removeAll()
        }
        threads.join()
    }

    private func work() {
        let deflater = PieceDeflater(level: level)
        while let job = nextJob() {
            job.run(deflater)
            monitor.change { $0.done.append(ObjectIdentifier(job)) }
        }
    }

    private func nextJob() -> DeflateJob? {
        monitor.change { $0.idle += 1 }
        return monitor.wait { state -> DeflateJob?? in
            if state.isStopped { return .some(nil) }
            if state.waiting.isEmpty { return nil }
            state.idle -= 1
            return state.waiting.removeFirst()
        }
    }
}

extension DeflateCrew.State {
    fileprivate mutating func claim(_ job: DeflateJob) -> Bool {
        guard let index = done.firstIndex(of: ObjectIdentifier(job)) else { return false }
        done.remove(at: index)
        return true
    }
}

/// Stops a crew when nobody holds this any more, whose threads hold the crew itself.
///
/// A class, because release builds of Swift 6.3 do not run the deinit of a generic struct that cannot be copied where it
/// lies in another one: a sink that was given up after an error then left its thread waiting for ever.
final class DeflateCrewOwner: Sendable {
    let crew: DeflateCrew

    init(_ crew: DeflateCrew) { self.crew = crew }

    deinit { crew.stop() }
}
