/// One timed run of a contender: all programs of its pipeline together.
struct Sample: Sendable, Equatable {
    /// From the first program's start to the last one's end.
    var seconds: Double
    /// What all programs took of processors in their own code, and in the kernel.
    var userSeconds: Double
    var systemSeconds: Double
    var processorSeconds: Double { userSeconds + systemSeconds }
    /// What all processors of the machine together had nothing to do, or waited for a disk; nil where that is not told.
    var idleSeconds: Double?
    /// The largest resident size that one of the programs reached, in KiB.
    var peakKiB: Int
    /// Bytes written by the last program; nil where that cannot be known.
    var writtenBytes: UInt64?
}

/// The middle of some numbers; the mean of the middle two when they are even in number. nil without numbers.
func median(_ values: [Double]) -> Double? {
    guard !values.isEmpty else { return nil }
    let sorted = values.sorted()
    let middle = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/// Several runs of one contender.
struct Series: Sendable, Equatable {
    var samples: [Sample] = []

    var median: Double { BenchHarness.median(samples.map(\.seconds)) ?? 0 }
    var minimum: Double { samples.map(\.seconds).min() ?? 0 }
    var maximum: Double { samples.map(\.seconds).max() ?? 0 }
    /// Largest less smallest, in parts of the median.
    var spread: Double { median > 0 ? (maximum - minimum) / median : 0 }
    /// Whether there is one: a single run has none.
    var hasSpread: Bool { samples.count > 1 }
    /// Where the true median lies.
    var interval: MedianInterval? { MedianInterval(samples.map(\.seconds)) }
    var processorSeconds: Double { BenchHarness.median(samples.map(\.processorSeconds)) ?? 0 }
    var userSeconds: Double { BenchHarness.median(samples.map(\.userSeconds)) ?? 0 }
    var systemSeconds: Double { BenchHarness.median(samples.map(\.systemSeconds)) ?? 0 }
    /// nil where a run's is not known.
    var idleSeconds: Double? {
        let known = samples.compactMap(\.idleSeconds)
        return known.count == samples.count ? BenchHarness.median(known) : nil
    }
    var peakKiB: Int { samples.map(\.peakKiB).max() ?? 0 }
}

/// How many times longer a contender took than ldiff.
struct Ratio: Sendable, Equatable {
    var value: Double
    /// From its fastest run over ldiff's slowest to its slowest run over ldiff's fastest.
    var range: ClosedRange<Double>

    /// Whether the runs do not even prove which of the two is faster.
    var overlaps: Bool { range.contains(1) }
    /// The runs of the one that has fewer.
    var runs: Int

    /// Whether the range is so wide, or the runs so few, that the number says little.
    var isNoisy: Bool { runs < Self.fewest || range.upperBound > range.lowerBound * Self.noise }

    /// The width, as upper bound over lower bound, from which a ratio is doubted.
    static let noise = 1.6
    /// Runs of each that show a spread at all.
    static let fewest = 3

    /// nil when one of them has no runs.
    init?(of series: Series, to own: Series) {
        guard !series.samples.isEmpty, own.minimum > 0 else { return nil }
        value = series.median / own.median
        runs = min(series.samples.count, own.samples.count)
        range = series.minimum / own.maximum...series.maximum / own.minimum
    }
}
