import Testing

@testable import BenchHarness

func series(_ seconds: Double..., peakKiB: Int = 1024) -> Series {
    Series(
        samples: seconds.map {
            Sample(seconds: $0, userSeconds: $0 * 0.5, systemSeconds: $0 * 1.5, peakKiB: peakKiB, writtenBytes: 10)
        })
}

@Suite struct StatisticsTests {
    @Test(arguments: [([3, 1, 2], 2), ([4, 1, 2, 3], 2.5), ([7], 7)] as [([Double], Double)])
    func `the median is the middle`(values: [Double], expected: Double) {
        #expect(median(values) == expected)
    }

    @Test func `no numbers have no median`() { #expect(median([]) == nil) }

    @Test func `a series tells its middle, ends and spread`() {
        let runs = series(0.2, 0.4, 0.3)
        #expect(runs.median == 0.3 && runs.minimum == 0.2 && runs.maximum == 0.4)
        #expect(abs(runs.spread - 2.0 / 3) < 1e-9)
        #expect(abs(runs.processorSeconds - 0.6) < 1e-9)
    }

    @Test(
        arguments: [
            // Clearly apart and steady; overlapping; apart but so wide that the number says little.
            (series(1, 1.05, 1.1), series(3, 3.1, 3.2), 3.1 / 1.05, false, false),
            (series(1.1, 1.2, 1.3), series(1.25, 1.3, 1.4), 1.3 / 1.2, true, false),
            (series(1, 1.5, 2), series(4, 5, 6), 5 / 1.5, false, true),
        ] as [(Series, Series, Double, Bool, Bool)])
    func `a ratio knows what it is worth`(own: Series, other: Series, value: Double, overlaps: Bool, isNoisy: Bool)
        throws
    {
        let ratio = try #require(Ratio(of: other, to: own))
        #expect(abs(ratio.value - value) < 1e-9)
        #expect(ratio.overlaps == overlaps)
        #expect(ratio.isNoisy == isNoisy)
    }

    @Test func `a ratio needs runs of both`() {
        #expect(Ratio(of: Series(), to: series(1)) == nil)
        #expect(Ratio(of: series(1), to: Series()) == nil)
    }

    @Test(arguments: [
        (0.3004 as Double, "0.300 s"), (0.0123, "12.30 ms"), (123.45, "123.5 s"), (0.0996, "99.60 ms"), (0, "0.00 ms"),
    ])
    func `seconds read well`(value: Double, text: String) { #expect(Format.seconds(value) == text) }

    @Test(arguments: [
        (999 as UInt64, "999 B"), (1_360_000_000, "1.36 GB"), (45_600, "45.6 kB"), (226_000_000, "226 MB"),
    ])
    func `bytes read well`(count: UInt64, text: String) { #expect(Format.bytes(count) == text) }

    @Test(
        arguments: [(2.345, 2, "2.35"), (0.999, 1, "1.0"), (-1.5, 0, "-2"), (1e300, 1, "1e+300"), (.nan, 1, "nan")]
            as [(Double, Int, String)])
    func `decimals are rounded`(value: Double, decimals: Int, text: String) {
        #expect(Format.fixed(value, decimals) == text)
    }
}

@Suite struct RankTestTests {
    /// Exact values, from the tables of the rank-sum test: 2 of C(n + m, n) orders lie as far out as the outermost.
    @Test(
        arguments: [
            ([1, 2, 3, 4, 5], [6, 7, 8, 9, 10], 2.0 / 252, true),
            ([6, 7, 8, 9, 10], [1, 2, 3, 4, 5], 2.0 / 252, true),
            ([1, 2, 3, 4, 6], [5, 7, 8, 9, 10], 4.0 / 252, true),
            ([1, 3, 5, 7, 9], [2, 4, 6, 8, 10], 174.0 / 252, false),
            ([1, 2, 3], [4, 5, 6], 2.0 / 20, false),
            ([1], [2], 1, false),
            ([3, 3, 3, 3, 3], [3, 3, 3, 3, 3], 1, false),
        ] as [([Double], [Double], Double, Bool)])
    func `few runs are judged exactly`(first: [Double], second: [Double], probability: Double, differs: Bool) throws {
        let test = try #require(RankTest(first, second))
        #expect(abs(test.probability - probability) < 1e-9, "\(test.probability)")
        #expect(test.isDifferent == differs)
    }

    @Test func `three runs of each can show nothing, four can`() {
        #expect(RankTest([1, 2, 3], [4, 5, 6])?.canDecide == false)
        #expect(RankTest([1, 2, 3, 4], [5, 6, 7, 8])?.isDifferent == true)
    }

    /// The normal approximation goes on where the exact count ends.
    @Test func `many runs are judged as few are`() throws {
        let runs = { (count: Int, first: Double) in (0..<count).map { first + 2 * Double($0) } }
        let exact = try #require(RankTest(runs(20, 0), runs(20, 9)))
        let normal = try #require(RankTest(runs(21, 0), runs(21, 9)))
        #expect(abs(exact.probability - normal.probability) < 0.05, "\(exact.probability), \(normal.probability)")
        let apart = try #require(RankTest(runs(30, 0), runs(30, 100)))
        #expect(apart.probability < 1e-6 && apart.isDifferent)
        let same = try #require(RankTest([Double](repeating: 1, count: 30), [Double](repeating: 1, count: 30)))
        #expect(!same.isDifferent)
    }

    @Test func `without runs there is nothing to judge`() { #expect(RankTest([], [1]) == nil) }
}
