public import LayerModel

/// Where a name lies in a `NameArena`: 48 bits of offset, 16 bits of length.
public struct NameRef: BitwiseCopyable, Sendable, Equatable {
    @usableFromInline let packed: UInt64

    @inlinable
    public init(offset: Int, length: Int) {
        packed = UInt64(truncatingIfNeeded: offset) << 16 | UInt64(truncatingIfNeeded: length) & 0xffff
    }

    /// The empty name at offset 0.
    public static let empty = NameRef(offset: 0, length: 0)

    /// Offset of the first byte.
    @inlinable public var offset: Int { Int(truncatingIfNeeded: packed >> 16) }
    /// Number of bytes, without the terminating NUL; at most 65,535 (names of directory entries have at most 255).
    @inlinable public var length: Int { Int(truncatingIfNeeded: packed & 0xffff) }
}

/// All names of a job, NUL-terminated, at addresses that never change, so that system calls take them in place.
///
/// Any thread may append; see `StableArray` for when others may read.
public final class NameArena: Sendable {
    @usableFromInline let bytes: StableArray<UInt8>

    /// Reserves 64 GiB of address space: enough for 200 million names.
    public init() throws(LayerError) {
        bytes = try StableArray(limit: 64 << 30)
    }

    /// Bytes in use.
    public var byteCount: Int { bytes.count }

    /// Reserves room for names of `byteCount` bytes in all, terminators included, and returns its offset.
    public func reserve(_ byteCount: Int) throws(LayerError) -> Int { try bytes.reserve(byteCount) }

    /// Forgets all names, so that the arena is used again; nobody may use one of them any more.
    public func removeAll() { bytes.removeAll() }

    /// Copies a name to `offset`, which the caller has reserved with one byte more than the name has.
    @inlinable
    public func write(_ name: RawSpan, at offset: Int) -> NameRef {
        precondition(name.byteCount < 65_536)
        // Reason: the range is checked against the reserved memory; the source is readable for its byte count.
        unsafe name.withUnsafeBytes { source in
            let target = unsafe UnsafeMutableRawPointer(bytes.address(offset..<offset + source.count + 1))
            if let first = source.baseAddress { unsafe target.copyMemory(from: first, byteCount: source.count) }
            unsafe target.storeBytes(of: 0, toByteOffset: source.count, as: UInt8.self)
        }
        return NameRef(offset: offset, length: name.byteCount)
    }

    /// Adds one name.
    public func append(_ name: RawSpan) throws(LayerError) -> NameRef {
        write(name, at: try reserve(name.byteCount + 1))
    }

    /// The name's bytes, without the terminator.
    @inlinable
    public subscript(name: NameRef) -> RawSpan {
        @_lifetime(borrow self)
        get {
            // Reason: the range is checked against the reserved memory, which lives as long as self.
            let start = unsafe bytes.address(name.offset..<name.offset + name.length)
            return unsafe _overrideLifetime(RawSpan(_unsafeStart: start, byteCount: name.length), borrowing: self)
        }
    }

    /// The name as system calls take it.
    @inlinable @_lifetime(borrow self)
    public func pointer(_ name: NameRef) -> NamePointer {
        // Reason: as above; every name is followed by its NUL.
        let start = unsafe bytes.address(name.offset..<name.offset + name.length + 1)
        let span = unsafe RawSpan(_unsafeStart: start, byteCount: name.length + 1)
        return unsafe _overrideLifetime(NamePointer(terminated: span), borrowing: self)
    }
}
