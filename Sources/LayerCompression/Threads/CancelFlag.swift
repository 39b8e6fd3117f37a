import Glibc
public import LayerModel
import Synchronization

/// A request to stop that any thread may make, and that wakes readers blocked in the kernel.
public final class CancelFlag: Sendable {
    private let flag = Atomic<Bool>(false)
    /// The end of a socket pair that becomes readable, for good, with the request; -1 where the system gave none.
    let descriptor: Int32
    private let wakeEnd: Int32

    /// Makes a flag that is not set.
    public init() {
        // A socket pair, because pipes that programs started meanwhile do not inherit need a GNU extension.
        let kind = SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue
        var ends: (Int32, Int32) = (-1, -1)
        // Reason: socketpair writes two descriptors, which is what the tuple holds.
        let result = unsafe withUnsafeMutableBytes(of: &ends) { bytes -> Int32 in
            let numbers = unsafe bytes.assumingMemoryBound(to: Int32.self)
            guard let base = numbers.baseAddress else { return -1 }
            return unsafe socketpair(AF_UNIX, Int32(kind), 0, base)
        }
        (descriptor, wakeEnd) = result == 0 ? ends : (-1, -1)
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
        if wakeEnd >= 0 { close(wakeEnd) }
    }

    /// Sets the flag, for good.
    public func cancel() {
        flag.store(true, ordering: .releasing)
        guard wakeEnd >= 0 else { return }
        var byte: UInt8 = 1
        // Reason: one byte, which lives during the call. A full socket is as good: its reader wakes.
        _ = unsafe write(wakeEnd, &byte, 1)
    }

    /// Whether the flag was set.
    public var isCancelled: Bool { flag.load(ordering: .acquiring) }

    /// Throws `cancelled` if the flag was set.
    public func check(_ operation: String) throws(LayerError) {
        if isCancelled { throw LayerError(.cancelled, operation, cause: .reason("cancelled")) }
    }
}

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
