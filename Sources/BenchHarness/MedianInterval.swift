/// Between which runs the true median lies, and how surely: by the order of the runs alone, whatever their distribution.
///
/// With n runs the median lies below the k-th smallest as often as n throws of a coin show fewer than k heads.
struct MedianInterval: Sendable, Equatable {
    var range: ClosedRange<Double>
    /// 0.95 or more where there are six runs or more; else what smallest and largest give.
    var confidence: Double

    /// What is asked for.
    static let wanted = 0.95

    /// nil for fewer than two runs.
    init?(_ values: [Double]) {
        guard values.count > 1 else { return nil }
        let sorted = values.sorted()
        var (chosen, confidence) = (0, 1 - 2 * Self.coinsBelow(1, of: sorted.count))
        var next = 1
        while next < sorted.count / 2 {
            let narrower = 1 - 2 * Self.coinsBelow(next + 1, of: sorted.count)
            guard narrower >= Self.wanted else { break }
            (chosen, confidence) = (next, narrower)
            next += 1
        }
        range = sorted[chosen]...sorted[sorted.count - 1 - chosen]
        self.confidence = confidence
    }

    /// How likely so many throws show fewer than `heads` heads.
    private static func coinsBelow(_ heads: Int, of throwCount: Int) -> Double {
        var term = 1.0
        for _ in 0..<throwCount { term /= 2 }
        var sum = 0.0
        for number in 0..<heads {
            sum += term
            term *= Double(throwCount - number) / Double(number + 1)
        }
        return sum
    }
}
