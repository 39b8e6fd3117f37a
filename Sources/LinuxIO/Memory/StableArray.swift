internal import CLinux
public import LayerModel
import Synchronization

/// An append-only array whose elements never move, so that other threads may read finished elements while the
/// owner of a range still fills its own.
///
/// It lies in reserved address space, which nobody may touch and which counts against no limit on memory. As the array
/// grows more of it is made usable, in steps that double (`ldl_commit`), and that becomes memory page by page when
/// touched; an element costs its stride and nothing else, and there is no copy. Elements are zero until written.
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
    /// Bytes that may be touched. All before it may, so threads that grow the array at once need no lock.
    private let usable = Atomic<Int>(0)

    /// Bytes made usable at once, at least and at most.
    private static var smallestStep: Int { 64 << 10 }
    private static var largestStep: Int { 16 << 20 }

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
    /// Throws `.limitExceeded` when the array is full, `.noSpace` when the system gives no more memory.
    public func reserve(_ number: Int) throws(LayerError) -> Int {
        let (_, end) = used.add(number, ordering: .acquiringAndReleasing)
        try makeUsable(end)
        return end - number
    }

    /// Sees to it that the first `count` elements may be touched, for an array whose indices another one gives out.
    @inline(__always)
    public func makeUsable(_ count: Int) throws(LayerError) {
        guard count <= limit else { throw Self.full(limit) }
        if count * MemoryLayout<Element>.stride > usable.load(ordering: .acquiring) { try grow(to: count) }
    }

    @inline(never)
    private func grow(to count: Int) throws(LayerError) {
        let first = usable.load(ordering: .acquiring)
        let needed = count * MemoryLayout<Element>.stride
        let step = min(max(first, Self.smallestStep), Self.largestStep)
        var result: Int32 = 0
        // Where there is not so much memory, only what is needed now.
        for wanted in [max(needed, first + step), needed] {
            let end = min(Self.roundedUp(wanted), byteCount)
            guard end > first else { return }
            // Reason: the range lies inside the reserved memory. Another thread may do the same with a part of it.
            unsafe result = ldl_commit(UnsafeMutableRawPointer(base) + first, end - first)
            if result == 0 {
                usable.max(end, ordering: .acquiringAndReleasing)
                return
            }
        }
        throw LayerError(
            .noSpace, "hold the tree in memory", cause: .systemCall(SystemCallError("mprotect", errno: -result)),
            hint: "one of its tables needs \(needed) bytes: give the process more memory")
    }

    private static func roundedUp(_ byteCount: Int) -> Int {
        (byteCount + smallestStep - 1) / smallestStep * smallestStep
    }

    /// Forgets all elements, so that the array is used again; nobody may hold a part of it. New elements then are what
    /// was there before. More than a little memory goes back to the system.
    public func removeAll() {
        let bytes = used.load(ordering: .acquiring) * MemoryLayout<Element>.stride
        // Reason: the range lies inside the reserved memory, and was usable.
        if bytes > Self.largestStep { unsafe ldl_discard(base, min(bytes, usable.load(ordering: .acquiring))) }
        used.store(0, ordering: .releasing)
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
