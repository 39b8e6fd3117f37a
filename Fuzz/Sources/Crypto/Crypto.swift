/// Stands in for swift-crypto, four hundred files of C: what is fuzzed does not hash, and ends where it would.
public struct SHA256: Sendable {
    public init() {}

    public mutating func update(bufferPointer: UnsafeRawBufferPointer) { fatalError("no fuzzer hashes") }

    public func finalize() -> [UInt8] { fatalError("no fuzzer hashes") }
}
