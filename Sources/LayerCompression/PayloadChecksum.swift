#if Gzip
    import CISAL
#else
    import CAbsent
#endif

/// The CRC-64 of ISO 3309 as Go computes it, which tar-split keeps of every file (T5).
///
/// ISA-L multiplies without carries, so this costs less than reading the bytes.
public struct PayloadChecksum: Sendable {
    /// The checksum of all bytes taken in so far; of none it is 0.
    public private(set) var value: UInt64 = 0

    /// Begins with no bytes.
    public init() {}

    /// Takes in the next bytes.
    public mutating func update(_ bytes: RawSpan) {
        guard bytes.byteCount > 0 else { return }
        // Reason: ISA-L only reads the span's bytes, and only during the call.
        unsafe bytes.withUnsafeBytes { buffer in
            guard let address = buffer.baseAddress else { return }
            unsafe value = crc64_iso_refl(value, address.assumingMemoryBound(to: UInt8.self), UInt64(buffer.count))
        }
    }
}
