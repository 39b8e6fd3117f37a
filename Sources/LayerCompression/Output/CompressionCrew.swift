import LayerModel
import LinuxIO

/// What a crew works on. The caller fills it, one worker changes it with a tool of the worker's own, the caller takes the
/// result.
protocol CrewJob: AnyObject, Sendable {
    associatedtype Tool
    func run(_ tool: Tool)
}

/// One piece on its way through a crew. The caller fills it, one worker deflates it, the caller writes it out;
/// it changes hands under the crew's lock, which is what `@unchecked Sendable` stands for.
final class DeflateJob: CrewJob, @unchecked Sendable {
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

/// Threads that do jobs. They start when work piles up and end with `stop`.
final class CompressionCrew<Job: CrewJob>: Sendable {
    fileprivate struct State {
        var waiting: [Job] = []
        var done: [ObjectIdentifier] = []
        var idle = 0
        var isStopped = false
    }

    private let workers: Int
    private let makeTool: @Sendable () -> Job.Tool
    private let monitor = Monitor(State())
    private let threads = HelperThreads()

    init(workers: Int, makeTool: @escaping @Sendable () -> Job.Tool) {
        self.workers = workers
        self.makeTool = makeTool
    }

    /// Hands a job to the next free worker, starting one more thread when none is free.
    func submit(_ job: Job) throws(LayerError) {
        let isShort = monitor.change { state in
            state.waiting.append(job)
            return state.idle < state.waiting.count
        }
        if isShort, threads.count < workers { try threads.start { [self] in work() } }
    }

    /// Waits until `job` is done.
    func wait(for job: Job) {
        monitor.wait { $0.claim(job) ? () : nil }
    }

    /// Whether `job` is done; says so once.
    func isDone(_ job: Job) -> Bool {
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
        let tool = makeTool()
        while let job = nextJob() {
            job.run(tool)
            monitor.change { $0.done.append(ObjectIdentifier(job)) }
        }
    }

    private func nextJob() -> Job? {
        monitor.change { $0.idle += 1 }
        return monitor.wait { state -> Job?? in
            if state.isStopped { return .some(nil) }
            if state.waiting.isEmpty { return nil }
            state.idle -= 1
            return state.waiting.removeFirst()
        }
    }
}

extension CompressionCrew.State {
    fileprivate mutating func claim(_ job: Job) -> Bool {
        guard let index = done.firstIndex(of: ObjectIdentifier(job)) else { return false }
        done.remove(at: index)
        return true
    }
}

/// Stops a crew when nobody holds this any more, whose threads hold the crew itself.
///
/// A class, because release builds of Swift 6.3 do not run the deinit of a generic struct that cannot be copied where it
/// lies in another one: a sink that was given up after an error then left its thread waiting for ever.
final class CompressionCrewOwner<Job: CrewJob>: Sendable {
    let crew: CompressionCrew<Job>

    init(_ crew: CompressionCrew<Job>) { self.crew = crew }

    deinit { crew.stop() }
}
