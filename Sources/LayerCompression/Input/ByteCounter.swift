import Synchronization

/// A count of bytes that one thread raises and any thread reads, for progress displays.
public final class ByteCounter: Sendable {
    private let count = Atomic<UInt64>(0)

    /// Begins at zero.
    public init() {}

    /// Bytes so far.
    public var value: UInt64 { count.load(ordering: .relaxed) }

    func add(_ bytes: Int) {
        count.wrappingAdd(UInt64(bytes), ordering: .relaxed)
    }
}
