#if canImport(Glibc)
    public import Glibc
#endif

extension Array where Element == UInt8 {
    /// The array's bytes.
    @inlinable
    public var rawBytes: RawSpan {
        @_lifetime(borrow self)
        // Reason: bytes have no padding and no alignment.
        get { unsafe span.bytes }
    }
}

extension RawSpan {
    /// The byte at `index`, which is checked.
    @inlinable
    public subscript(index: Int) -> UInt8 {
        precondition(index >= 0 && index < byteCount)
        // Reason: the index was checked; a byte has no alignment.
        return unsafe unsafeLoad(fromUncheckedByteOffset: index, as: UInt8.self)
    }
}

/// Whether two byte strings are equal.
@inlinable
public func bytesEqual(_ left: RawSpan, _ right: RawSpan) -> Bool {
    guard left.byteCount == right.byteCount else { return false }
    guard left.byteCount > 0 else { return true }
    // Reason: both spans hold byteCount readable bytes.
    return unsafe left.withUnsafeBytes { left in
        unsafe right.withUnsafeBytes { right in
            unsafe memcmp(left.baseAddress.unsafelyUnwrapped, right.baseAddress.unsafelyUnwrapped, left.count) == 0
        }
    }
}

/// Orders byte strings by unsigned bytes, a prefix before the longer string: negative, zero or positive.
@inlinable
public func bytesCompare(_ left: RawSpan, _ right: RawSpan) -> Int {
    let common = min(left.byteCount, right.byteCount)
    if common > 0 {
        // Reason: both spans hold at least `common` readable bytes.
        let order = unsafe left.withUnsafeBytes { left in
            unsafe right.withUnsafeBytes { right in
                unsafe memcmp(left.baseAddress.unsafelyUnwrapped, right.baseAddress.unsafelyUnwrapped, common)
            }
        }
        if order != 0 { return Int(order) }
    }
    return left.byteCount - right.byteCount
}

/// Whether `bytes` begins with the ASCII text `prefix`.
@inlinable
public func bytes(_ bytes: RawSpan, startWith prefix: StaticString) -> Bool {
    guard bytes.byteCount >= prefix.utf8CodeUnitCount else { return false }
    for index in 0..<prefix.utf8CodeUnitCount {
        if bytes[index] != asciiByte(prefix, index) { return false }
    }
    return true
}

/// The byte at `index` of the ASCII text `text`; the index is checked.
@inlinable
public func asciiByte(_ text: StaticString, _ index: Int) -> UInt8 {
    precondition(index >= 0 && index < text.utf8CodeUnitCount)
    // Reason: a StaticString of ASCII text has utf8CodeUnitCount bytes at utf8Start, and the index was checked.
    return unsafe text.utf8Start[index]
}

/// Whether `bytes` is the ASCII text `text`.
@inlinable
public func bytes(_ value: RawSpan, equal text: StaticString) -> Bool {
    value.byteCount == text.utf8CodeUnitCount && bytes(value, startWith: text)
}

extension OutputRawSpan {
    /// Appends all of `bytes`, for which there must be room.
    @_lifetime(self: copy self)
    public mutating func append(copying bytes: RawSpan) {
        precondition(bytes.byteCount <= freeCapacity)
        // Reason: the room was checked, and both buffers are used during the calls only.
        unsafe withUnsafeMutableBytes { (target, count) in
            unsafe bytes.withUnsafeBytes { source in
                if let first = source.baseAddress, let base = target.baseAddress {
                    unsafe base.advanced(by: count).copyMemory(from: first, byteCount: source.count)
                }
            }
            count += bytes.byteCount
        }
    }
}

extension RawSpan {
    /// A copy as an array; for errors and other rare places.
    public func copied() -> [UInt8] {
        // Reason: the buffer is read during the call only.
        unsafe withUnsafeBytes { unsafe Array($0) }
    }
}
