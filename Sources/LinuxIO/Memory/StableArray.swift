internal import CLinux
public import LayerModel
import Synchronization

/// An append-only array whose elements never move, so that other threads may read finished elements while the
/// owner of a range still fills its own.
///
/// It lies in reserved address space that becomes memory page by page when touched; an element costs its stride
/// and nothing else, and there is no copy when the array grows. Elements are zero until written.
///
/// Sharing: `reserve` may be called from any thread and gives each caller a range of its own. An element may be
/// written by the thread that reserved it, and read by others once that thread has handed it over (a lock, the
/// end of a parallel phase). That rule is what `@unchecked Sendable` stands for.
@safe
public final class StableArray<Element: BitwiseCopyable>: @unchecked Sendable {
    /// The most elements there can ever be.
    public let limit: Int

    @usableFromInline let base: UnsafeMutablePointer<Element>
    private let byteCount: Int
    private let used = Atomic<Int>(0)

    /// Reserves room for `limit` elements, or for fewer where the system grants less address space.
    ///
    /// Throws `.noSpace` when not even 1/1024 of it is granted.
    public init(limit: Int) throws(LayerError) {
        let stride = MemoryLayout<Element>.stride
        var wanted = limit
        // Reason: the address is owned by this object and released once, in deinit; fresh pages read as zero,
        // which is a valid value of a BitwiseCopyable element without padding rules.
        var address = unsafe ldl_reserve(wanted * stride)
        while unsafe address == nil, wanted > limit / 1024 {
            wanted /= 2
            unsafe address = ldl_reserve(wanted * stride)
        }
        guard let address = unsafe address else {
            throw LayerError(
                .noSpace, "reserve memory", cause: .reason("no address space for \(limit * stride) bytes"),
                hint: "raise the limit on virtual memory (ulimit -v)")
        }
        unsafe base = address.bindMemory(to: Element.self, capacity: wanted)
        self.limit = wanted
        byteCount = wanted * stride
    }

    deinit {
        // Reason: reserved in init, released once.
        unsafe ldl_release(base, byteCount)
    }

    /// Number of elements reserved so far.
    public var count: Int { used.load(ordering: .acquiring) }

    /// Reserves `number` consecutive elements and returns the index of the first.
    ///
    /// Throws `.limitExceeded` when the array is full.
    public func reserve(_ number: Int) throws(LayerError) -> Int {
        let (_, end) = used.add(number, ordering: .acquiringAndReleasing)
        guard end <= limit else { throw Self.full(limit) }
        return end - number
    }

    @inline(never)
    private static func full(_ limit: Int) -> LayerError {
        LayerError(.limitExceeded, "hold the tree in memory", cause: .reason("more than \(limit) elements"))
    }

    @inlinable
    public subscript(index: Int) -> Element {
        get {
            precondition(index >= 0 && index < limit)
            // Reason: the index lies inside the reserved memory; the sharing rule above rules out races.
            return unsafe base[index]
        }
        set {
            precondition(index >= 0 && index < limit)
            // Reason: as above.
            unsafe base[index] = newValue
        }
    }

    /// A part of the array, read-only.
    @inlinable @_lifetime(borrow self)
    public func span(_ range: Range<Int>) -> Span<Element> {
        precondition(range.lowerBound >= 0 && range.upperBound <= limit)
        // Reason: the range lies inside the reserved memory, which lives as long as self.
        let span = unsafe Span(_unsafeStart: base + range.lowerBound, count: range.count)
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    /// A part of the array, writable; the caller must own the range.
    @inlinable @_lifetime(borrow self)
    public func mutableSpan(_ range: Range<Int>) -> MutableSpan<Element> {
        precondition(range.lowerBound >= 0 && range.upperBound <= limit)
        // Reason: the range lies inside the reserved memory, which lives as long as self.
        let span = unsafe MutableSpan(_unsafeStart: base + range.lowerBound, count: range.count)
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    /// The address of a checked range, for spans that an owner of this array hands out.
    @inlinable @unsafe
    public func address(_ range: Range<Int>) -> UnsafeMutablePointer<Element> {
        precondition(range.lowerBound >= 0 && range.upperBound <= limit)
        // Reason: the range was checked; the caller answers for what it does with the address.
        return unsafe base + range.lowerBound
    }
}
