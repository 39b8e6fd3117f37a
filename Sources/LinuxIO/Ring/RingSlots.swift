internal import LayerModel

/// What a slot's submissions do.
enum RingOperation: UInt8, BitwiseCopyable {
    case free
    /// Reads from an owned descriptor until the range is full or the file ends.
    case read
    /// statx of a name, result into the caller's storage.
    case stat
    /// An open, whose descriptor goes to whoever takes the completion.
    case open
}

/// One operation in flight and everything the kernel may touch for it.
///
/// The references keep buffers, names and results alive until the completion has been reaped, whatever the caller
/// does meanwhile.
struct RingSlot: ~Copyable {
    var operation = RingOperation.free
    /// Completions the kernel still owes for this slot.
    var pending: UInt8 = 0
    /// Raised each time the slot is freed, so that a completion of an earlier life is recognised.
    var generation: UInt32 = 0
    /// Next slot of the free list.
    var nextFree: Int32 = -1
    var token: UInt64 = 0
    var descriptor: OwnedDescriptor?
    /// The descriptor of a read that others read through as well.
    var shared: SharedDescriptor?
    /// Number of the directory that the caller keeps open.
    var directory: Int32 = -1
    var arena: NameArena?
    var name = NameRef.empty
    /// The memory of the operation, which counts it as a use; set by `hold`.
    fileprivate(set) var slab: Slab?
    var start = 0
    var end = 0
    /// Bytes done.
    var done = 0
    /// Offset in the file of `start`.
    var offset: Int64 = 0
    var flags: Int32 = 0
    var metadata: StableArray<EntryMetadata>?
    /// Where a batch collects its results instead of reporting completions.
    var outcomes: StableArray<Int32>?
    /// Where in `metadata` and `outcomes` the result goes.
    var index = 0
}

/// The table of operations in flight: fixed size, addresses never change.
@safe
struct RingSlots: ~Copyable {
    let capacity: Int
    private(set) var used = 0
    private var firstFree: Int32 = 0
    private let base: UnsafeMutablePointer<RingSlot>
    /// One result of statx(2) per slot, made at first use.
    private var cells: UnsafeMutableRawPointer?
    /// Bytes of struct statx, which the importer does not show; fixed by the kernel's interface.
    private static let cellByteCount = 256

    init(capacity: Int) {
        self.capacity = capacity
        // Reason: allocated once, every slot initialised here and deinitialised in `destroy`.
        unsafe base = .allocate(capacity: capacity)
        for index in 0..<capacity {
            unsafe (base + index).initialize(to: RingSlot())
            unsafe base[index].nextFree = index + 1 < capacity ? Int32(index + 1) : -1
        }
        unsafe cells = nil
    }

    /// Frees the table; no operation may be in flight. Not done by deinit, since a table that the kernel may still
    /// write for has to be left alone.
    consuming func destroy() {
        precondition(used == 0, "the kernel may still write for a slot that would be freed")
        // Reason: as in init.
        unsafe base.deinitialize(count: capacity)
        unsafe base.deallocate()
        unsafe cells?.deallocate()
    }

    /// By address: for `_read` and `_modify` Swift 6.3 allocates a frame wherever it does not inline them, which was one
    /// allocation per read.
    subscript(index: Int) -> RingSlot {
        @unsafe
        unsafeAddress {
            precondition(index >= 0 && index < capacity)
            // Reason: the index was checked; the slots live as long as the table.
            return unsafe UnsafePointer(base + index)
        }
        @unsafe
        unsafeMutableAddress {
            precondition(index >= 0 && index < capacity)
            // Reason: as above.
            return unsafe base + index
        }
    }

    /// The number of the slot's descriptor, -1 where it has none.
    func descriptorNumber(_ index: Int) -> Int32 {
        precondition(index >= 0 && index < capacity)
        // Reason: as in the subscript, through which an optional owner cannot be looked into.
        let owned = unsafe base[index].descriptor?.number
        return unsafe owned ?? base[index].shared?.descriptor.number ?? -1
    }

    /// Gives an operation a part of a slab, which counts as used by the kernel until the slot is freed.
    mutating func hold(_ index: Int, _ slab: Slab, _ range: Range<Int>) {
        precondition(range.lowerBound >= 0 && range.upperBound <= slab.capacity && range.count <= Int(Int32.max))
        precondition(self[index].slab == nil, "an operation has memory already")
        slab.beginKernelUse()
        self[index].slab = slab
        self[index].start = range.lowerBound
        self[index].end = range.upperBound
    }

    /// A free slot for one operation, or nil where all are taken.
    mutating func take(_ operation: RingOperation, token: UInt64) -> Int? {
        guard firstFree >= 0 else { return nil }
        let index = Int(firstFree)
        firstFree = self[index].nextFree
        used += 1
        self[index].operation = operation
        self[index].token = token
        self[index].pending = 0
        self[index].done = 0
        return index
    }

    /// Lets go of everything the slot holds; its descriptor is closed.
    mutating func free(_ index: Int) {
        precondition(self[index].operation != .free && self[index].pending == 0)
        self[index].operation = .free
        self[index].descriptor = nil
        self[index].shared = nil
        self[index].slab?.endKernelUse()
        self[index].slab = nil
        self[index].arena = nil
        self[index].metadata = nil
        self[index].outcomes = nil
        self[index].generation &+= 1
        self[index].nextFree = firstFree
        firstFree = Int32(index)
        used -= 1
    }

    /// What identifies a slot's submission: its index and its generation.
    func userData(_ index: Int) -> UInt64 { UInt64(self[index].generation) << 32 | UInt64(index) }

    /// The slot of a completion. A stale or foreign one means that the table is corrupt, and ends the process.
    func slot(of userData: UInt64) -> Int {
        let index = Int(userData & 0xffff_ffff)
        precondition(index < capacity && self[index].generation == UInt32(userData >> 32), "stale completion")
        precondition(self[index].pending > 0, "unexpected completion")
        return index
    }

    /// Where statx(2) writes for a slot.
    @unsafe
    mutating func cell(_ index: Int) -> OpaquePointer {
        precondition(index >= 0 && index < capacity)
        // Reason: the index was checked; a cell is filled by the kernel before it is read, and freed in `destroy`.
        let base = unsafe cells ?? .allocate(byteCount: capacity * Self.cellByteCount, alignment: 64)
        unsafe cells = base
        return unsafe OpaquePointer(base + index * Self.cellByteCount)
    }
}

/// Completions that were reaped while making room and wait for `nextCompletion`.
struct CompletionQueue: ~Copyable {
    private var items: [RingCompletion] = []
    private var head = 0

    var isEmpty: Bool { head == items.count }
    var count: Int { items.count - head }

    mutating func append(_ completion: RingCompletion) { items.append(completion) }

    mutating func takeFirst() -> RingCompletion? {
        guard head < items.count else { return nil }
        let first = items[head]
        head += 1
        if head == items.count {
            items.removeAll(keepingCapacity: true)
            head = 0
        }
        return first
    }
}
