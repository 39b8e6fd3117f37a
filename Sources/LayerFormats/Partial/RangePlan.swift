import LayerModel

/// Which parts of something are asked for at once.
public enum RangePlan {
    /// Sorts ranges and joins those that overlap, touch, or have at most `gap` bytes between them.
    public static func merged(_ ranges: [Range<UInt64>], gap: UInt64) -> [Range<UInt64>] {
        var result: [Range<UInt64>] = []
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) where !range.isEmpty {
            if let last = result.last, range.lowerBound <= last.upperBound &+ gap {
                result[result.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
            } else {
                result.append(range)
            }
        }
        return result
    }
}

/// What has come of ranges that were asked for, in whatever order and pieces.
public struct RangeCoverage: Sendable {
    private let wanted: [Range<UInt64>]
    private var found: [Range<UInt64>] = []

    /// The ranges are sorted and apart.
    public init(_ wanted: [Range<UInt64>]) { self.wanted = wanted }

    public mutating func add(_ range: Range<UInt64>) {
        if let last = found.last, last.upperBound == range.lowerBound {
            found[found.count - 1] = last.lowerBound..<range.upperBound
        } else {
            found.append(range)
        }
    }

    /// Whether all of them have come.
    public var isComplete: Bool {
        let found = RangePlan.merged(found, gap: 0)
        return wanted.allSatisfy { range in
            found.contains { $0.lowerBound <= range.lowerBound && range.upperBound <= $0.upperBound }
        }
    }
}
