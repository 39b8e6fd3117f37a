import LayerModel
import LinuxIO
import Synchronization

/// Runs `body` on so many threads of its own, outside of the pool that runs tests, and waits; throws the first error.
package func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) throws -> Void) throws {
    let errors = Mutex<[String]>([])
    let threads = HelperThreads()
    for index in 0..<count {
        try threads.start {
            do { try body(index) } catch { errors.withLock { $0.append("thread \(index): \(error)") } }
        }
    }
    threads.join()
    let all = errors.withLock { $0 }
    if !all.isEmpty { throw TestFailure("\(all.count) threads failed: \(all.prefix(3).joined(separator: "; "))") }
}
