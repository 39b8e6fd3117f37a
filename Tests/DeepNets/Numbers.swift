/// Numbers that are the same in every run with one seed. Not the system's generator: a failure must be repeatable.
package struct Numbers: RandomNumberGenerator {
    private var state: UInt64

    package init(_ seed: UInt64) {
        state = seed
        _ = next()
    }

    /// SplitMix64, of Steele, Lea and Flood.
    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var word = state
        word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
        return word ^ (word >> 31)
    }

    /// A number below `bound`.
    package mutating func below(_ bound: Int) -> Int { Int(next() >> 33) % bound }
    package mutating func within(_ range: ClosedRange<Int>) -> Int { range.lowerBound + below(range.count) }
    package mutating func isTrue(oneIn count: Int) -> Bool { below(count) == 0 }
    package mutating func pick<Element>(_ list: [Element]) -> Element { list[below(list.count)] }

    /// A generator for one part of a case, so that a change of one part leaves the others as they were.
    package mutating func branch() -> Numbers { Numbers(next()) }

    /// A few of a list, in its order.
    package mutating func some<Element>(_ list: [Element], _ count: Int) -> [Element] {
        var left = min(count, list.count)
        var chosen: [Element] = []
        for (index, element) in list.enumerated() where left > 0 && below(list.count - index) < left {
            chosen.append(element)
            left -= 1
        }
        return chosen
    }
}
