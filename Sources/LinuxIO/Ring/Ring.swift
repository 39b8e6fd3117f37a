public import LayerModel

/// One finished operation.
public struct RingCompletion: BitwiseCopyable, Sendable {
    /// What the caller gave when it started the operation.
    public var token: UInt64
    /// Bytes in all, or the descriptor; the negated errno.
    public var result: Int32
    /// Whether the result is a descriptor, which has to be closed if nobody takes the completion.
    var isDescriptor = false

    /// Throws the error of a failed operation, with the name of the system call that it stands for.
    public func check(_ call: StaticCallName) throws(SystemCallError) -> Int {
        if result < 0 { throw SystemCallError(call, errno: -result) }
        return Int(result)
    }
}

/// A submission and completion ring of io_uring(7), with everything the kernel uses for it.
///
/// For one thread: the one that makes it must use and release it (SINGLE_ISSUER). Buffers, names and result storage
/// are kept alive by the ring until their completion; descriptors that an operation takes over are closed by it.
/// Releasing a ring with operations in flight cancels them and waits until the kernel has let go.
/// Errors of an operation arrive as its completion's result; only failures of the ring itself are thrown.
public struct Ring: ~Copyable {
    var core: RingCore

    /// A ring for `entries` operations in flight (4 to 4,096, rounded up to a power of two by the kernel).
    ///
    /// Throws `.unsupported` with the reason where io_uring cannot be used; see `RingCapabilities`.
    public init(entries: Int) throws(LayerError) { core = try RingCore(entries: entries) }

    deinit {
        let core = core
        core.shutDown()
    }

    /// The most operations that can be in flight; starting one more waits for a completion.
    public var capacity: Int { core.slots.capacity }

    /// Operations started and not yet returned by `nextCompletion`, finished ones included.
    public var inFlight: Int { core.slots.used + core.finished.count }

    /// Whether the ring itself has failed: the kernel takes or gives back nothing any more, and the operations in flight
    /// will never be reported. Released then, the ring leaves their memory allocated for ever.
    public var hasFailed: Bool { core.hasFailed }

    /// Whether the kernel could not carry out something that it took, having no thread or no memory for it. It tries for fifty
    /// milliseconds before it says so, each time, so plain calls are better from then on.
    public var hasGivenUp: Bool { core.hasGivenUp }

    /// Entries handed to the kernel, and calls of io_uring_enter(2) that this took.
    public var counters: (submissions: UInt64, enters: UInt64) { (core.submissions, core.enters) }

    /// Adds both to a job's.
    func count(into job: inout IOCounters) {
        job.ringSubmissions += counters.submissions
        job.ringEnters += counters.enters
    }

    /// Starts reading `range.count` bytes at `offset` of `descriptor` into a part of `slab`.
    ///
    /// The descriptor is taken over and closed when the read is complete. Short reads go on inside until the range is
    /// full or the file ends, so the completion's result is the byte count in all. The read is only queued: `submit`
    /// or a waiting `nextCompletion` hands it to the kernel. Nobody may use the range until its completion.
    public mutating func read(
        _ descriptor: consuming OwnedDescriptor, into slab: Slab, _ range: Range<Int>, at offset: Int64, token: UInt64
    ) throws(LayerError) {
        let index = try core.takeSlot(.read, token: token)
        core.slots[index].descriptor = consume descriptor
        try core.startRead(index, slab, range, at: offset)
    }

    /// As `read`, through a descriptor that others use as well; it stays open at least until the completion.
    public mutating func read(
        through descriptor: SharedDescriptor, into slab: Slab, _ range: Range<Int>, at offset: Int64, token: UInt64
    ) throws(LayerError) {
        let index = try core.takeSlot(.read, token: token)
        core.slots[index].shared = descriptor
        try core.startRead(index, slab, range, at: offset)
    }

    /// Hands queued operations to the kernel without waiting for any.
    public mutating func submit() throws(LayerError) { try core.submit() }

    /// The next finished operation; with `wait`, waits while any is in flight. Nil if none is finished.
    public mutating func nextCompletion(wait: Bool) throws(LayerError) -> RingCompletion? {
        try core.next(wait: wait)
    }
}
