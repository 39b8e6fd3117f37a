import LayerModel

/// Names, targets of links and attributes, one after the other.
struct ByteArena {
    private var bytes: [UInt8] = []

    /// Adds bytes; returns their place, or nil where 4 GiB are full.
    mutating func append(_ source: RawSpan) -> UInt32? {
        guard bytes.count + source.byteCount <= Int(UInt32.max) else { return nil }
        let start = bytes.count
        for index in 0..<source.byteCount { bytes.append(source[index]) }
        return UInt32(start)
    }

    /// The bytes at a place.
    @_lifetime(borrow self)
    func span(_ place: UInt32, _ count: Int) -> RawSpan {
        bytes.rawBytes.extracting(Int(place)..<Int(place) + count)
    }
}
