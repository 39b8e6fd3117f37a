/// The fuzzer's bytes, from which a target takes numbers and the rest.
///
/// Numbers are taken from the end, so that what stands at the front of a seed can be a whole file of its format.
public struct FuzzInput {
    private let bytes: [UInt8]
    private var end: Int

    public init(_ data: UnsafePointer<UInt8>, _ count: Int) {
        bytes = Array(UnsafeBufferPointer(start: data, count: count))
        end = count
    }

    public var count: Int { end }

    /// One byte; 0 when there are none left.
    public mutating func byte() -> UInt8 {
        guard end > 0 else { return 0 }
        end -= 1
        return bytes[end]
    }

    /// A number of a size that varies: mostly small, sometimes at the edges of what 64 bits hold.
    public mutating func number() -> Int64 {
        let kind = byte()
        switch kind & 7 {
        case 0: return Int64(kind >> 3)
        case 1, 2: return Int64(byte()) << (Int64(kind >> 3) & 15)
        case 3: return Int64.max - Int64(byte())
        case 4: return Int64.min + Int64(byte())
        case 5: return -Int64(byte())
        default:
            var value: UInt64 = 0
            for _ in 0..<Int(kind >> 3 & 7) + 1 { value = value << 8 | UInt64(byte()) }
            return Int64(bitPattern: value)
        }
    }

    /// Up to `limit` bytes, the number of which the input says.
    public mutating func piece(limit: Int) -> [UInt8] {
        let count = min(limit, Int(byte()) << (byte() & 7) & 0xfff, end)
        defer { end -= count }
        return Array(bytes[end - count..<end])
    }

    /// Sizes of pieces in which a stream is to come, none of them 0.
    public mutating func pieceSizes() -> [Int] {
        (0..<Int(byte() & 3) + 1).map { _ in
            let size = byte()
            return size < 128 ? Int(size) + 1 : Int(size & 127) * 13 + 1
        }
    }

    /// Whatever was not taken.
    public var rest: [UInt8] { Array(bytes[..<end]) }
}

/// Ends the process with a finding, so that the fuzzer keeps the input.
public func require(
    _ condition: @autoclosure () -> Bool, _ rule: @autoclosure () -> String, file: StaticString = #fileID,
    line: UInt = #line
) {
    guard !condition() else { return }
    fatalError("rule broken: \(rule())", file: file, line: line)
}

/// The ranges of a stream that comes in pieces of these sizes, again and again.
public func pieces(of count: Int, _ sizes: [Int]) -> [Range<Int>] {
    var ranges: [Range<Int>] = []
    var at = 0
    while at < count {
        let next = min(count, at + sizes[ranges.count % sizes.count])
        ranges.append(at..<next)
        at = next
    }
    return ranges
}
