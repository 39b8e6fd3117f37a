import Glibc

/// Whether two series of runs differ by more than chance: the rank-sum test of Wilcoxon, Mann and Whitney, two-sided.
///
/// It asks only which runs were faster than which, so that one run that was disturbed decides nothing.
struct RankTest: Sendable, Equatable {
    /// How likely runs of one and the same program fall apart at least so far.
    var probability: Double
    /// Whether so few runs could have shown a difference at all.
    var canDecide: Bool

    /// Below this a difference counts as one.
    static let threshold = 0.05
    /// With more runs than this in all, their distribution is taken for normal.
    private static let exactLimit = 40

    var isDifferent: Bool { canDecide && probability < Self.threshold }

    /// nil where one of them has no runs.
    init?(_ first: [Double], _ second: [Double]) {
        guard !first.isEmpty, !second.isEmpty else { return nil }
        // Twice the rank, so that runs of equal length share a whole number.
        let all = (first + second).sorted()
        var doubled: [Double: Int] = [:]
        var start = 0
        var ties = 0.0
        while start < all.count {
            var end = start
            while end < all.count, all[end] == all[start] { end += 1 }
            doubled[all[start]] = start + 1 + end
            let same = Double(end - start)
            ties += same * same * same - same
            start = end
        }
        let ranks = all.map { doubled[$0] ?? 0 }
        let sum = first.reduce(0) { $0 + (doubled[$1] ?? 0) }
        let expected = first.count * (all.count + 1)
        let distance = abs(sum - expected)
        if all.count <= Self.exactLimit {
            let ways = Self.waysBySum(ranks, choosing: first.count)
            let total = ways.values.reduce(0, +)
            let asFar = ways.reduce(0.0) { abs($1.key - expected) >= distance ? $0 + $1.value : $0 }
            probability = asFar / total
            // Where no two are equal, two orders lie furthest out.
            canDecide = 2 / total < Self.threshold
        } else {
            let (n, m) = (Double(first.count), Double(second.count))
            let variance = n * m / 12 * (n + m + 1 - ties / ((n + m) * (n + m - 1)))
            // Half a rank for what is counted, not measured.
            let deviation = max(0, Double(distance) / 2 - 0.5) / max(variance, 1e-9).squareRoot()
            probability = variance > 0 ? Self.twoSided(deviation) : 1
            canDecide = true
        }
    }

    /// In how many ways so many of the ranks can be chosen, by their sum.
    private static func waysBySum(_ ranks: [Int], choosing count: Int) -> [Int: Double] {
        var ways = [[Int: Double]](repeating: [:], count: count + 1)
        ways[0][0] = 1
        for rank in ranks {
            for chosen in stride(from: count, to: 0, by: -1) {
                for (sum, number) in ways[chosen - 1] { ways[chosen][sum + rank, default: 0] += number }
            }
        }
        return ways[count]
    }

    /// How likely a normal variable lies at least so many deviations away: Abramowitz and Stegun, formula 7.1.26.
    private static func twoSided(_ deviation: Double) -> Double {
        let x = deviation / 2.0.squareRoot()
        let t = 1 / (1 + 0.3275911 * x)
        let polynomial =
            t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
        return min(1, polynomial * exp(-x * x))
    }
}
