import LayerModel
import Testing

@testable import LayerFormats

/// The generator of the vectors that other writers' output was compared with.
func generated(_ count: Int) -> [UInt8] {
    var state: UInt32 = 1
    return (0..<count).map { _ in
        state = (state &* 1_103_515_245 &+ 12345) & 0x7fff_ffff
        return UInt8(truncatingIfNeeded: state >> 16)
    }
}

/// Lengths of pieces, those of zeros below zero; fed in windows of one size.
private func pieces(_ bytes: [UInt8], window: Int) -> [Int] {
    var cutter = PieceCutter()
    var lengths: [Int] = []
    var open = 0
    func take(_ step: PieceCutter.Step) {
        open += step.zeros + step.range.count
        if step.cuts || step.zeroRun > 0, open > 0 {
            lengths.append(open)
            open = 0
        }
        if step.zeroRun > 0 { lengths.append(-Int(step.zeroRun)) }
    }
    var start = 0
    while start < bytes.count {
        let end = min(start + window, bytes.count)
        let part = bytes.rawBytes.extracting(start..<end)
        var at = 0
        while at < part.byteCount {
            let step = cutter.next(part, from: at)
            take(step)
            at = step.consumed
        }
        start = end
    }
    while let step = cutter.finish() { take(step) }
    if open > 0 { lengths.append(open) }
    return lengths
}

/// The rule, a byte at a time.
private func slowly(_ bytes: [UInt8]) -> [Int] {
    var lengths: [Int] = []
    var open = 0
    var index = 0
    func isCut(_ at: Int, _ begin: Int) -> Bool {
        var sum = 0
        for place in 1...64 where at - place + 1 >= begin { sum += place * Int(bytes[at - place + 1]) }
        return sum % 65536 == 6079
    }
    var begin = 0
    while index < bytes.count {
        var end = index
        while end < bytes.count, bytes[end] == 0 { end += 1 }
        if end - index >= 1024 {
            if open > 0 { lengths.append(open) }
            open = 0
            lengths.append(-(end - index))
            index = end
            begin = end
            continue
        }
        for at in index..<max(end, index + 1) {
            if open == 4 << 20 {
                lengths.append(open)
                open = 0
            }
            open += 1
            if isCut(at, begin) {
                lengths.append(open)
                open = 0
            }
        }
        index = max(end, index + 1)
    }
    if open > 0 { lengths.append(open) }
    return lengths
}

@Suite struct CutterTests {
    private static let long = generated(400_000)
    private static func zeros(_ count: Int) -> [UInt8] { [UInt8](repeating: 0, count: count) }

    static let vectors: [([UInt8], [Int])] = [
        (long, [49253, 65256, 41131, 11963, 77785, 18138, 75174, 35905, 25395]),
        (
            long[..<3000] + zeros(1023) + long[3000..<6000] + zeros(1024) + long[6000..<9000] + zeros(5000),
            [7023, -1024, 3000, -5000]
        ),
        (zeros(1024) + [0x78], [-1024, 1]), ([0x78] + zeros(1023), [1024]), ([0x78] + zeros(1024), [1, -1024]),
        (zeros(1024), [-1024]), ([], []), ([0], [1]), (zeros(1023), [1023]),
    ]

    @Test(arguments: [1, 63, 64, 65, 1000, 4096, 1 << 20])
    func `files are cut where others cut them, however they come`(window: Int) {
        for (bytes, lengths) in Self.vectors { #expect(pieces(bytes, window: window) == lengths) }
    }

    @Test(arguments: [7, 1023, 100_000])
    func `cuts follow the rule`(window: Int) {
        var bytes: [UInt8] = []
        // Runs of zeros of every length around those that matter, among bytes that cut often.
        for (index, run) in [1, 2, 62, 63, 64, 65, 1022, 1023, 1024, 1025, 3, 2048].enumerated() {
            bytes += Self.long[index * 7000..<index * 7000 + 7000]
            bytes += Self.zeros(run)
        }
        bytes += (0..<20_000).map { $0 % 3 == 0 ? UInt8(0) : UInt8(truncatingIfNeeded: $0 / 7) }
        #expect(pieces(bytes, window: window) == slowly(bytes))
    }

    @Test func `a file that is never cut is cut by force`() {
        let (longest, byte) = (PieceCutter.longest, UInt8(ascii: "a"))
        let window = 1 << 18
        #expect(pieces([UInt8](repeating: byte, count: longest), window: window) == [longest])
        #expect(pieces([UInt8](repeating: byte, count: longest + 1), window: window) == [longest, 1])
        let mixed = [UInt8](repeating: byte, count: longest) + Self.zeros(10) + [byte]
        #expect(pieces(mixed, window: window) == [longest, 11])
        let run = [UInt8](repeating: byte, count: longest) + Self.zeros(2000)
        #expect(pieces(run, window: window) == [longest, -2000])
    }
}
