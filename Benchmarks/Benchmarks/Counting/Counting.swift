import Benchmark
import CMallocCounter
import EngineParts

/// What is counted in every benchmark, and held by the files in Thresholds. The library's own allocation and system-call
/// metrics read zero without its traits, so these are ours.
extension BenchmarkMetric {
    /// Calls of malloc(3) and its kind, from all threads.
    public static let allocations = BenchmarkMetric.custom(
        "Allocations", polarity: .prefersSmaller, useScalingFactor: false)
    /// System calls for entries: opens, stats, directory reads, attributes, reads, creations, ring enters.
    public static let entryCalls = BenchmarkMetric.custom(
        "Entry calls", polarity: .prefersSmaller, useScalingFactor: false)
    /// Calls of io_uring_enter(2).
    public static let ringEnters = BenchmarkMetric.custom(
        "Ring enters", polarity: .prefersSmaller, useScalingFactor: false)
    /// Bytes that come out.
    public static let bytesOut = BenchmarkMetric.custom("Bytes out", polarity: .prefersSmaller, useScalingFactor: false)
}

/// How all of them run: the clock is shown, only counts have thresholds.
///
/// Names of benchmarks have no spaces: the library writes its threshold files with other names, and then does not find
/// them. Counts may differ by a tenth and by 32, since the timing of threads shows in some.
public func configuration(_ metrics: [BenchmarkMetric], iterations: Int = 20) -> Benchmark.Configuration {
    let exact = BenchmarkThresholds(relative: [.p90: 10], absolute: [.p90: 32])
    var thresholds: [BenchmarkMetric: BenchmarkThresholds] = [.wallClock: .none]
    for metric in metrics { thresholds[metric] = exact }
    return Benchmark.Configuration(
        metrics: [.wallClock] + metrics, warmupIterations: 2, maxDuration: .seconds(5), maxIterations: iterations,
        thresholds: thresholds)
}

extension Benchmark {
    /// Runs `body` as what is measured, and counts what it allocates.
    public func counted<Result>(_ body: () throws -> Result) rethrows -> Result {
        let before = ldiff_allocation_count()
        startMeasurement()
        let result = try body()
        stopMeasurement()
        measurement(.allocations, Int(ldiff_allocation_count() - before))
        return result
    }

    /// Reports what the engine asked of the kernel.
    public func report(_ counts: EnginePart.Counts) {
        measurement(.entryCalls, counts.calls)
        measurement(.ringEnters, counts.ringEnters)
    }
}
