import Synchronization

/// A fixed, page-aligned piece of memory in which stream bytes travel between threads without being copied.
///
/// The valid bytes are `start ..< end`. Space in front of `start` is headroom: a consumer that stopped in the
/// middle of a record puts the record's first bytes there, so that the rest follows them contiguously.
///
/// Ownership: whoever holds the only reference may change `start`, `end` and the bytes. Once a slab has been
/// handed to another thread its contents are read-only; that rule is what `@unchecked Sendable` stands for.
@safe
public final class Slab: @unchecked Sendable {
    /// Bytes of memory, headroom included.
    public let capacity: Int
    /// Offset of the first valid byte.
    public var start: Int
    /// Offset one past the last valid byte.
    public var end: Int

    @usableFromInline let base: UnsafeMutableRawPointer
    /// Operations in which the kernel still uses this memory, counted by whoever started them. While there are any, the
    /// memory may not be handed on, reused or freed; see `isIdle`.
    private var kernelUses = 0

    /// Allocates `capacity` bytes; both offsets begin at `headroom`.
    public init(capacity: Int, headroom: Int = 0) {
        precondition(headroom >= 0 && headroom <= capacity)
        self.capacity = capacity
        self.start = headroom
        self.end = headroom
        // Reason: the memory is owned by this object and freed once, in deinit.
        unsafe self.base = UnsafeMutableRawPointer.allocate(byteCount: max(capacity, 1), alignment: 4096)
    }

    /// Allocates `capacity` bytes, the first `zeroed` of them zero and valid.
    public convenience init(capacity: Int, zeroed: Int) {
        self.init(capacity: capacity)
        appendZeros(zeroed)
    }

    deinit {
        precondition(isIdle, "memory that the kernel still uses would be freed")
        // Reason: allocated by this object, freed here and nowhere else.
        unsafe base.deallocate()
    }

    /// Whether the kernel is done with this memory: what must hold before anybody else gets it.
    public var isIdle: Bool { kernelUses == 0 }

    /// Notes that an operation was started that reads or writes this memory; said by the thread that holds the slab.
    public func beginKernelUse() { kernelUses += 1 }

    /// Notes that such an operation is over.
    public func endKernelUse() {
        precondition(kernelUses > 0, "an operation on this memory ended twice")
        kernelUses -= 1
    }

    /// Number of valid bytes.
    @inlinable public var count: Int { end - start }

    /// The valid bytes.
    @inlinable public var bytes: RawSpan {
        @_lifetime(borrow self)
        get { span(start..<end) }
    }

    /// Any part of the memory, read-only. The range must lie inside the capacity.
    @inlinable @_lifetime(borrow self)
    public func span(_ range: Range<Int>) -> RawSpan {
        precondition(range.lowerBound >= 0 && range.upperBound <= capacity)
        // Reason: the range was checked against the capacity, and the memory lives as long as self.
        let span = unsafe RawSpan(_unsafeStart: base + range.lowerBound, byteCount: range.count)
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    /// Any part of the memory, writable. The caller must be the only holder (see the type's ownership rule).
    @inlinable @_lifetime(borrow self)
    public func mutableSpan(_ range: Range<Int>) -> MutableRawSpan {
        precondition(range.lowerBound >= 0 && range.upperBound <= capacity)
        // Reason: the range was checked against the capacity, and the memory lives as long as self.
        let span = unsafe MutableRawSpan(_unsafeStart: base + range.lowerBound, byteCount: range.count)
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    /// Copies `source` to `offset`, which must leave room for all of it.
    @inlinable
    public func copy(_ source: RawSpan, at offset: Int) {
        precondition(offset >= 0 && offset + source.byteCount <= capacity)
        guard source.byteCount > 0 else { return }
        // Reason: bounds were checked above; source and target are different memory or memmove sorts it out.
        unsafe source.withUnsafeBytes { bytes in
            guard let address = bytes.baseAddress else { return }
            unsafe base.advanced(by: offset).copyMemory(from: address, byteCount: bytes.count)
        }
    }

    /// Copies `source` behind the valid bytes and counts it as valid.
    @inlinable
    public func append(_ source: RawSpan) {
        copy(source, at: end)
        end += source.byteCount
    }

    /// Writes `count` zero bytes behind the valid bytes.
    @inlinable
    public func appendZeros(_ count: Int) {
        precondition(count >= 0 && end + count <= capacity)
        // Reason: bounds were checked above.
        unsafe base.advanced(by: end).initializeMemory(as: UInt8.self, repeating: 0, count: count)
        end += count
    }

    /// Lets `body` write into a part of the memory, from its beginning, and returns how many bytes it wrote. What is valid
    /// stays as it is.
    public func fill<Failure: Error>(
        _ range: Range<Int>, _ body: (inout OutputRawSpan) throws(Failure) -> Void
    ) throws(Failure) -> Int {
        precondition(range.lowerBound >= 0 && range.upperBound <= capacity)
        // Reason: the range was checked, the memory lives as long as self, and the count is asked back before it is used.
        let memory = unsafe UnsafeMutableRawBufferPointer(start: base + range.lowerBound, count: range.count)
        var output = unsafe OutputRawSpan(buffer: memory, initializedCount: 0)
        try body(&output)
        return unsafe output.finalize(for: memory)
    }

    /// Fills a part of the memory with zeros; what is valid stays as it is.
    @inlinable
    public func zero(_ range: Range<Int>) {
        precondition(range.lowerBound >= 0 && range.upperBound <= capacity)
        // Reason: the range was checked.
        unsafe base.advanced(by: range.lowerBound).initializeMemory(as: UInt8.self, repeating: 0, count: range.count)
    }

    /// Runs `body` with the address of a part of the memory, for calls that hand it to the kernel.
    @inlinable @unsafe
    public func withUnsafeAddress<Result: ~Copyable, Failure: Error>(
        _ range: Range<Int>, _ body: (UnsafeMutableRawPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        precondition(range.lowerBound >= 0 && range.upperBound <= capacity)
        // Reason: the range was checked; the caller answers for what it does with the address.
        return try unsafe body(base + range.lowerBound)
    }
}

/// A bounded store of slabs of one size, so that a long stream touches the same few pages again and again.
///
/// `take` never blocks; the bound on memory comes from whoever limits the slabs in flight. A slab given back
/// beyond `keep` is freed.
public final class SlabPool: Sendable {
    /// Bytes of each slab, headroom included.
    public let slabCapacity: Int
    /// Headroom that each slab starts with.
    public let headroom: Int
    private let keep: Int
    private let free: Mutex<[Slab]>

    /// Makes a pool that holds back at most `keep` unused slabs.
    public init(slabCapacity: Int, headroom: Int = 0, keep: Int = 16) {
        self.slabCapacity = slabCapacity
        self.headroom = headroom
        self.keep = keep
        self.free = Mutex([])
    }

    /// An empty slab, reused if there is one.
    public func take() -> Slab {
        if let slab = free.withLock({ $0.popLast() }) {
            precondition(slab.isIdle, "a slab of the pool is still in use")
            slab.start = headroom
            slab.end = headroom
            return slab
        }
        return Slab(capacity: slabCapacity, headroom: headroom)
    }

    /// Gives back a slab that nobody else holds any more. Slabs of another size are simply freed.
    public func give(_ slab: consuming Slab) {
        precondition(slab.isIdle, "a slab came back while the kernel still uses it")
        guard slab.capacity == slabCapacity else { return }
        let slab = slab
        free.withLock { if $0.count < keep { $0.append(slab) } }
    }
}
