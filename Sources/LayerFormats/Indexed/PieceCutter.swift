import LayerModel

/// Finds where a file's contents are cut, so that equal stretches of different files become equal pieces.
///
/// A run of 1024 zeros or more is a piece. Other pieces end where a weighted sum of the last 64 bytes has a certain remainder,
/// and where they reach 4 MiB. Where the cuts lie depends on the contents alone, and begins anew with each file.
struct PieceCutter {
    /// What comes next: first zeros that were held back, then bytes of the window, then what ends.
    struct Step: Equatable {
        var zeros = 0
        var range: Range<Int>
        /// The piece ends behind those.
        var cuts = false
        /// Whatever is open ends behind those, and a run of zeros follows.
        var zeroRun: Int64 = 0
        /// Bytes of the window that are used up.
        var consumed: Int
    }

    /// Zeros in a row that are a piece.
    static let zeroRunLength: Int64 = 1024
    /// The longest piece of data.
    static let longest = 4 << 20
    private static let window = 64
    private static let remainder: UInt32 = 6079

    /// The last 64 bytes, and their sum; and the sum of each times its place, the newest having place 1.
    private var last = [64 of UInt8](repeating: 0)
    private var at = 0
    private var sum: UInt32 = 0
    private var weighted: UInt32 = 0
    /// Zeros that were seen, and are neither data nor a run yet.
    private var pending: Int64 = 0
    /// Zeros that are data and were not given out yet.
    private var owed = 0
    private var pieceLength = 0

    /// Takes the next bytes of the file, from `start` of `window` on, as far as one step goes.
    mutating func next(_ window: RawSpan, from start: Int) -> Step {
        var first = start
        if owed == 0 {
            while first < window.byteCount, window[first] == 0 { first += 1 }
            pending += Int64(first - start)
            if first == window.byteCount { return Step(range: first..<first, consumed: first) }
            if let run = takeRun() { return Step(range: first..<first, zeroRun: run, consumed: first) }
        }
        let zeros = giveZeros()
        if zeros.cuts { return Step(zeros: zeros.count, range: first..<first, cuts: true, consumed: first) }
        let (end, cuts, consumed) = takeData(window, from: first)
        return Step(zeros: zeros.count, range: first..<end, cuts: cuts, consumed: consumed)
    }

    /// What is left at the file's end; nil when nothing is.
    mutating func finish() -> Step? {
        defer { if pending == 0, owed == 0 { self = PieceCutter() } }
        if owed == 0, let run = takeRun() { return Step(range: 0..<0, zeroRun: run, consumed: 0) }
        guard owed > 0 else { return nil }
        let zeros = giveZeros()
        return Step(zeros: zeros.count, range: 0..<0, cuts: zeros.cuts, consumed: 0)
    }

    /// Decides what the zeros are that were seen.
    private mutating func takeRun() -> Int64? {
        defer { pending = 0 }
        guard pending >= Self.zeroRunLength else {
            owed = Int(pending)
            return nil
        }
        // The sum of 64 zeros is the sum at a file's beginning.
        last = [64 of UInt8](repeating: 0)
        sum = 0
        weighted = 0
        pieceLength = 0
        return pending
    }

    private mutating func giveZeros() -> (count: Int, cuts: Bool) {
        var count = 0
        while owed > 0 {
            if pieceLength == Self.longest {
                pieceLength = 0
                return (count, true)
            }
            let isCut = roll(0)
            count += 1
            owed -= 1
            pieceLength += 1
            if isCut {
                pieceLength = 0
                return (count, true)
            }
        }
        return (count, false)
    }

    /// Takes data until a piece ends, or zeros come of which nobody knows yet how many.
    private mutating func takeData(_ window: RawSpan, from start: Int) -> (end: Int, cuts: Bool, consumed: Int) {
        var index = start
        while index < window.byteCount {
            let byte = window[index]
            if byte == 0 {
                var end = index + 1
                while end < window.byteCount, window[end] == 0, end - index < Int(Self.zeroRunLength) { end += 1 }
                if end == window.byteCount || end - index == Int(Self.zeroRunLength) {
                    pending = Int64(end - index)
                    return (index, false, end)
                }
                owed = end - index
                let (count, cuts) = giveZeros()
                index += count
                if cuts {
                    // The rest of the zeros come out first with the next step, not with this window.
                    return (index, true, end)
                }
                continue
            }
            if pieceLength == Self.longest {
                pieceLength = 0
                return (index, true, index)
            }
            let isCut = roll(byte)
            index += 1
            pieceLength += 1
            if isCut {
                pieceLength = 0
                return (index, true, index)
            }
        }
        return (index, false, index)
    }

    @inline(__always)
    private mutating func roll(_ byte: UInt8) -> Bool {
        let oldest = UInt32(last[at])
        last[at] = byte
        at = (at + 1) & (Self.window - 1)
        sum = sum &- oldest &+ UInt32(byte)
        weighted = weighted &- UInt32(Self.window) &* oldest &+ sum
        return weighted & 0xffff == Self.remainder
    }
}
