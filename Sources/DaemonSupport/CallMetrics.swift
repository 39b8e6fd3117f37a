import Glibc
import Logging
import Metrics
import Synchronization

/// Counts and times the calls of a daemon, and says once what the daemon is:
///
/// | name | labels | |
/// |---|---|---|
/// | `ldiff_info` | program, version, driver | 1 |
/// | `ldiff_start_time_seconds` | | when the daemon started, seconds since 1970 |
/// | `ldiff_call_duration_seconds` | call | histogram of the time that calls took, failed ones included |
/// | `ldiff_call_errors_total` | call | calls that failed |
/// | `ldiff_calls_running` | | calls that have not ended |
/// | `ldiff_stream_bytes_total` | direction (in, out) | bytes of layers |
package final class CallMetrics: Sendable {
    private struct Series {
        var timer: Metrics.Timer
        var errors: Counter
    }

    private let series = Mutex<[String: Series]>([:])
    private let running: Meter
    private let bytesIn: Counter
    private let bytesOut: Counter
    private let factory: any MetricsFactory

    /// Counts in `factory`, the registry that the daemon shows.
    package init(_ factory: any MetricsFactory, program: String, version: String, drivers: [String]) {
        self.factory = factory
        running = Meter(label: "ldiff_calls_running", dimensions: [], factory: factory)
        bytesIn = Counter(label: "ldiff_stream_bytes_total", dimensions: [("direction", "in")], factory: factory)
        bytesOut = Counter(label: "ldiff_stream_bytes_total", dimensions: [("direction", "out")], factory: factory)
        running.set(0)
        Meter(label: "ldiff_start_time_seconds", dimensions: [], factory: factory).set(Int64(time(nil)))
        for driver in drivers.isEmpty ? [""] : drivers {
            let labels = [("program", program), ("version", version), ("driver", driver)]
            Meter(label: "ldiff_info", dimensions: labels, factory: factory).set(1)
        }
    }

    /// Runs one call, whose name comes from a fixed list, and counts it.
    package func measure<Result>(_ call: String, _ body: () async throws -> Result) async throws -> Result {
        let series = find(call)
        let clock = ContinuousClock()
        let start = clock.now
        running.increment(by: 1)
        defer {
            running.decrement(by: 1)
            series.timer.recordNanoseconds(Self.nanoseconds(clock.now - start))
        }
        do {
            return try await body()
        } catch {
            series.errors.increment()
            throw error
        }
    }

    /// Counts a failure that is told in the answer instead of being thrown.
    package func countError(_ call: String) { find(call).errors.increment() }

    /// Counts bytes of layers that came in.
    package func received(_ byteCount: Int) { bytesIn.increment(by: byteCount) }

    /// Counts bytes of layers that went out.
    package func sent(_ byteCount: Int) { bytesOut.increment(by: byteCount) }

    private func find(_ call: String) -> Series {
        series.withLock { all in
            if let found = all[call] { return found }
            let new = Series(
                timer: Metrics.Timer(
                    label: "ldiff_call_duration_seconds", dimensions: [("call", call)], factory: factory),
                errors: Counter(label: "ldiff_call_errors_total", dimensions: [("call", call)], factory: factory))
            new.errors.increment(by: 0)
            all[call] = new
            return new
        }
    }

    private static func nanoseconds(_ duration: Duration) -> Int64 {
        let parts = duration.components
        return parts.seconds * 1_000_000_000 + parts.attoseconds / 1_000_000_000
    }
}
