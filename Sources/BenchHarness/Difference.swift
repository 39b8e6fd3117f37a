import PlainJSON

/// What became of a time between two programs, or two runs of the harness.
struct Difference: Sendable, Equatable {
    /// The median after, in parts of the median before.
    var ratio: Double
    /// Whether the runs show a difference; see `RankTest`.
    var test: RankTest
    /// Largest less smallest, in parts of the median.
    var spread: (before: Double, after: Double)

    static func == (first: Difference, second: Difference) -> Bool {
        first.ratio == second.ratio && first.test == second.test && first.spread == second.spread
    }

    /// nil where one of them has no runs.
    init?(from before: [Double], to after: [Double]) {
        guard let test = RankTest(before, after), let old = median(before), let new = median(after), old > 0 else {
            return nil
        }
        self.test = test
        ratio = new / old
        spread = (Self.spread(before, old), Self.spread(after, new))
    }

    private static func spread(_ values: [Double], _ middle: Double) -> Double {
        guard middle > 0, let least = values.min(), let most = values.max() else { return 0 }
        return (most - least) / middle
    }

    /// "faster", "slower", "noise" where the runs do not show which, "too few runs" where they could not.
    var verdict: String {
        guard test.canDecide else { return "too few runs" }
        guard test.isDifferent else { return "noise" }
        return ratio < 1 ? "faster" : ratio > 1 ? "slower" : "noise"
    }

    var json: JSONValue {
        let rounded = { (value: Double) in JSONValue.number((value * 10_000).rounded() / 10_000) }
        return .object([
            ("ratio", rounded(ratio)), ("probability", rounded(test.probability)), ("verdict", .string(verdict)),
            ("spreadBefore", rounded(spread.before)), ("spreadAfter", rounded(spread.after)),
        ])
    }
}
