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
        precondition(bytes.byteCount > 0 && bytes[bytes.byteCount - 1] == 0, "a name must end with NUL")
        length = bytes.byteCount - 1
        // Reason: the span is not empty, so it has an address; the result cannot outlive the span.
        unsafe address = bytes.withUnsafeBytes { unsafe $0.baseAddress.unsafelyUnwrapped }.assumingMemoryBound(
            to: CChar.self)
    }

    /// A name in the program itself, such as `"."`.
    @_lifetime(immortal)
    public init(_ text: StaticString) {
        precondition(text.hasPointerRepresentation)
        length = text.utf8CodeUnitCount
        // Reason: the text of a StaticString is NUL-terminated and lives as long as the program.
        unsafe address = UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
    }
    /// The bytes without the terminator.
    public func copied() -> [UInt8] {
        // Reason: the name is readable for its length, and lives as long as self.
        unsafe [UInt8](UnsafeRawBufferPointer(start: address, count: length))
    }
}
