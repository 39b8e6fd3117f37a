internal import CLinux
internal import CUring
public import LayerModel

extension Ring {
    /// Starts statx(2) of `name` in `directory`, links not followed, into `metadata[index]`, with 0 or the negated errno in
    /// `outcomes[index]`; `finishStats` waits for it. A name that cannot be looked up leaves its metadata as they were.
    ///
    /// The caller keeps the directory open until then; the arena and the result storage are kept by the ring. The kernel gives
    /// every statx to one of its worker threads, which pays off where names must come from a disk and costs twice the plain
    /// call where they are in memory.
    public mutating func stat(
        _ directory: borrowing OwnedDescriptor, _ name: NameRef, in arena: NameArena,
        into metadata: StableArray<EntryMetadata>, outcomes: StableArray<Int32>, at index: Int
    ) throws(LayerError) {
        let slot = try core.takeSlot(.stat, directory.number, name, arena, token: 0)
        core.slots[slot].metadata = metadata
        core.slots[slot].outcomes = outcomes
        core.slots[slot].index = index
        core.batchPending += 1
        try core.queueStat(slot)
    }

    /// Waits until all names are looked up whose outcomes are collected; other operations go on, and their completions wait
    /// for `nextCompletion`.
    public mutating func finishStats() throws(LayerError) { try core.finishBatch() }

    /// Lets the kernel carry out so many operations at once that block; without it that is four for each core. Older kernels
    /// (before 5.15) keep that.
    public mutating func limitKernelThreads(_ count: Int) { core.limitKernelThreads(count) }
}

extension RingCore {
    mutating func queueStat(_ slot: Int) throws(LayerError) {
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
        slots[slot].outcomes?[index] = result
        batchPending -= 1
        slots.free(slot)
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
