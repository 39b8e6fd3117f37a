import LayerKit
import TestSupport

/// Runs `body` on so many threads of its own, outside of the pool that runs tests, and waits; throws the first error.
func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) throws -> Void) throws {
    let errors = LogLines()
    let threads = HelperThreads()
    for index in 0..<count {
        try threads.start {
            do { try body(index) } catch { errors.add("thread \(index): \(error)") }
        }
    }
    threads.join()
    let all = errors.all
    if !all.isEmpty { throw TestFailure("\(all.count) threads failed: \(all.prefix(3).joined(separator: "; "))") }
}
