/// Values in the order in which they came, in chunks: growing moves nothing, and no buffer is ever twice as large as needed.
struct Table<Element: BitwiseCopyable> {
    private var chunks: [[Element]] = []
    private(set) var count = 0

    private static var bits: Int { 13 }
    private static var mask: Int { 1 << bits - 1 }

    @inline(__always)
    subscript(index: UInt32) -> Element {
        get { chunks[Int(index) >> Self.bits][Int(index) & Self.mask] }
        _modify { yield &chunks[Int(index) >> Self.bits][Int(index) & Self.mask] }
    }

    /// Adds a value; returns its index.
    mutating func append(_ element: Element) -> UInt32 {
        precondition(count < UInt32.max, "a table has 2^32 places")
        if count & Self.mask == 0 {
            var chunk: [Element] = []
            if !chunks.isEmpty { chunk.reserveCapacity(1 << Self.bits) }
            chunks.append(chunk)
        }
        chunks[chunks.count - 1].append(element)
        count += 1
        return UInt32(count - 1)
    }
}
