import NIOCore

/// Runs tasks on the thread of an event loop.
///
/// A call is read, answered and written by one thread then. Elsewhere each of its steps (the head, the message, the answer, the
/// status) wakes a thread of Swift's pool or of NIO's, which costs more than what most calls do. Handlers must not block here
/// any more than on the pool.
final class EventLoopExecutor: TaskExecutor {
    private let loop: any EventLoop

    /// The loop must go on for as long as there are tasks.
    init(_ loop: any EventLoop) { self.loop = loop }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        loop.execute { [self] in job.runSynchronously(on: asUnownedTaskExecutor()) }
    }
}
