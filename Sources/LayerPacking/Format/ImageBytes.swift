import LayerModel

/// A piece of an image under way: numbers, least byte first, at the end of a buffer.
struct ImageBytes {
    private(set) var bytes: [UInt8] = []

    var count: Int { bytes.count }

    mutating func reserve(_ count: Int) { bytes.reserveCapacity(count) }

    mutating func removeAll() { bytes.removeAll(keepingCapacity: true) }

    mutating func put(_ value: UInt8) { bytes.append(value) }

    @inline(__always)
    mutating func put(_ value: UInt16) { append(UInt64(value), 2) }
    @inline(__always)
    mutating func put(_ value: UInt32) { append(UInt64(value), 4) }
    @inline(__always)
    mutating func put(_ value: UInt64) { append(value, 8) }

    @inline(__always)
    private mutating func append(_ value: UInt64, _ count: Int) {
        var value = value
        for _ in 0..<count {
            bytes.append(UInt8(truncatingIfNeeded: value))
            value >>= 8
        }
    }

    mutating func zeros(_ count: Int) {
        for _ in 0..<count { bytes.append(0) }
    }

    mutating func append(_ source: RawSpan) {
        for index in 0..<source.byteCount { bytes.append(source[index]) }
    }

    mutating func append(_ source: [UInt8]) { bytes.append(contentsOf: source) }

    /// Changes a byte that is there already.
    mutating func change(_ index: Int, _ change: (UInt8) -> UInt8) { bytes[index] = change(bytes[index]) }
}

extension RawSpan {
    /// Numbers, least byte first; the place is checked.
    @inline(__always)
    func number16(_ at: Int) -> UInt16 { UInt16(self[at]) | UInt16(self[at + 1]) << 8 }

    @inline(__always)
    func number32(_ at: Int) -> UInt32 { UInt32(number16(at)) | UInt32(number16(at + 2)) << 16 }

    @inline(__always)
    func number64(_ at: Int) -> UInt64 { UInt64(number32(at)) | UInt64(number32(at + 4)) << 32 }
}
