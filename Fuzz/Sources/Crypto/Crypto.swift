/// Stands in for swift-crypto, four hundred files of C: 32 bytes that depend on all that came, which no fuzzer needs more of.
public struct SHA256: Sendable {
    private var state: UInt64 = 0xcbf2_9ce4_8422_2325

    public init() {}

    public mutating func update(bufferPointer: UnsafeRawBufferPointer) {
        for byte in bufferPointer { state = (state ^ UInt64(byte)) &* 0x100_0000_01b3 }
    }

    public func finalize() -> [UInt8] {
        (0..<32).map { UInt8(truncatingIfNeeded: (state &* UInt64($0 * 2 + 1)) >> UInt64($0 % 8 * 8)) }
    }
}
