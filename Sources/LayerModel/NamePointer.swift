#if canImport(Glibc)
    public import Glibc
#endif

/// A NUL-terminated name or path in memory that somebody else owns, as system calls take it.
@safe
public struct NamePointer: ~Escapable {
    /// The address; only the system-call wrappers look at it.
    @unsafe public let address: UnsafePointer<CChar>
    /// Number of bytes without the terminator.
    public let length: Int

    /// The name in `bytes`, whose last byte must be NUL.
    @inlinable @_lifetime(copy bytes)
    public init(terminated bytes: RawSpan) {
        precondition(bytes.byteCount > 0 && bytes.unsafeLoadByte(bytes.byteCount - 1) == 0, "a name must end with NUL")
        length = bytes.byteCount - 1
        // Reason: the span is not empty, so it has an address; the result cannot outlive the span.
        unsafe address = bytes.withUnsafeBytes { unsafe $0.baseAddress.unsafelyUnwrapped }.assumingMemoryBound(to: CChar.self)
    }

    /// A name in the program itself, such as `"."`.
    @_lifetime(immortal)
    public init(_ text: StaticString) {
        precondition(text.hasPointerRepresentation)
        length = text.utf8CodeUnitCount
        // Reason: the text of a StaticString is NUL-terminated and lives as long as the program.
        unsafe address = UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
    }
}

extension RawSpan {
    /// The byte at `index`, which is checked.
    @inlinable
    public func unsafeLoadByte(_ index: Int) -> UInt8 {
        precondition(index >= 0 && index < byteCount)
        // Reason: the index was checked; a byte has no alignment.
        return unsafe unsafeLoad(fromUncheckedByteOffset: index, as: UInt8.self)
    }

    /// The byte at `index`, which is checked.
    @inlinable
    public subscript(index: Int) -> UInt8 { unsafeLoadByte(index) }
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
        // Reason: a StaticString of ASCII text has utf8CodeUnitCount bytes at utf8Start.
        if bytes[index] != (unsafe prefix.utf8Start[index]) { return false }
    }
    return true
}

/// Whether `bytes` is the ASCII text `text`.
@inlinable
public func bytes(_ value: RawSpan, equal text: StaticString) -> Bool {
    value.byteCount == text.utf8CodeUnitCount && bytes(value, startWith: text)
}

extension RawSpan {
    /// A copy as an array; for errors and other rare places.
    public func copied() -> [UInt8] {
        // Reason: the buffer is read during the call only.
        unsafe withUnsafeBytes { unsafe Array($0) }
    }
}
