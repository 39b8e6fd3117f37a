internal import CLinux
internal import CUring
public import LayerModel

extension Ring {
    /// Starts statx(2) of `name` in `directory`, links not followed, into `metadata[index]`.
    ///
    /// The completion's result is 0 or the negated errno. The caller keeps the directory open until then; the arena
    /// and the result storage are kept by the ring. The kernel gives every statx to one of its worker threads, which
    /// pays off where names must come from a disk and costs twice the plain call where they are in memory.
    public mutating func stat(
        _ directory: borrowing OwnedDescriptor, _ name: NameRef, in arena: NameArena,
        into metadata: StableArray<EntryMetadata>, at index: Int, token: UInt64
    ) throws(LayerError) {
        try core.startStat(directory.number, name, arena, metadata, nil, index, token: token)
    }

    /// The same, with 0 or the negated errno in `outcomes[index]` instead of a completion; `finishStats` waits for it. A name
    /// that cannot be looked up leaves its metadata as they were.
    public mutating func stat(
        _ directory: borrowing OwnedDescriptor, _ name: NameRef, in arena: NameArena,
        into metadata: StableArray<EntryMetadata>, outcomes: StableArray<Int32>, at index: Int
    ) throws(LayerError) {
        try core.startStat(directory.number, name, arena, metadata, outcomes, index, token: 0)
    }

    /// Waits until all names are looked up whose outcomes are collected; other operations go on, and their completions wait
    /// for `nextCompletion`.
    public mutating func finishStats() throws(LayerError) { try core.finishBatch() }

    /// Lets the kernel carry out so many operations at once that block; without it that is four for each core. Older kernels
    /// (before 5.15) keep that.
    public mutating func limitKernelThreads(_ count: Int) { core.limitKernelThreads(count) }
}

extension RingCore {
    /// Queues one statx; with `outcomes` it belongs to a batch and reports there.
    mutating func startStat(
        _ directory: Int32, _ name: NameRef, _ arena: NameArena, _ metadata: StableArray<EntryMetadata>,
        _ outcomes: StableArray<Int32>?, _ index: Int, token: UInt64
    ) throws(LayerError) {
        let slot = try takeSlot(.stat, token: token)
        slots[slot].directory = directory
        slots[slot].arena = arena
        slots[slot].name = name
        slots[slot].metadata = metadata
        slots[slot].outcomes = outcomes
        slots[slot].index = index
        if outcomes != nil { batchPending += 1 }
        try queueStat(slot)
    }

    private mutating func queueStat(_ slot: Int) throws(LayerError) {
        try makeSpace(1)
        guard let arena = slots[slot].arena else { return }
        let directory = slots[slot].directory
        let name = slots[slot].name
        // Reason: the slot keeps the arena, whose names never move; the cell lives as long as the table.
        let cell = unsafe slots.cell(slot)
        unsafe prepare(slot) { entry in
            // AT_SYMLINK_NOFOLLOW, AT_NO_AUTOMOUNT, AT_STATX_DONT_SYNC; STATX_BASIC_STATS.
            unsafe io_uring_prep_statx(
                entry, directory, arena.pointer(name).address, 0x100 | 0x800 | 0x4000, 0x7ff, cell)
        }
    }

    mutating func statCompleted(_ slot: Int, _ result: Int32) throws(LayerError) {
        if result == -4, !isClosing { return try queueStat(slot) }
        let index = slots[slot].index
        if result >= 0 {
            var stat = ldl_stat()
            // Reason: the kernel has filled the cell.
            unsafe ldl_stat_from_statx(slots.cell(slot), &stat)
            slots[slot].metadata?[index] = EntryMetadata(stat)
        }
        if let outcomes = slots[slot].outcomes {
            outcomes[index] = result
            batchPending -= 1
            slots.free(slot)
        } else {
            finish(slot, result)
        }
    }

    /// Waits until no batched operation is in flight.
    mutating func finishBatch() throws(LayerError) {
        while batchPending > 0 {
            if try reap() == 0 { try wait() }
        }
    }

    mutating func limitKernelThreads(_ count: Int) {
        var limits: (UInt32, UInt32) = (UInt32(count), 0)
        // Reason: a local, used inside of the closure only.
        unsafe withUnsafeMutableBytes(of: &limits) { bytes in
            // Reason: two numbers, which the kernel reads and writes during the call.
            guard let address = unsafe bytes.baseAddress?.assumingMemoryBound(to: UInt32.self) else { return }
            _ = unsafe io_uring_register_iowq_max_workers(ringAddress, address)
        }
    }
}
