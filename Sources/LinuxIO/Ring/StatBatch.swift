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
}

/// Metadata of many names of one directory, by plain calls or through a ring, with the same arguments and results.
///
/// Name i of `names` goes to place `first + i` of both results: `metadata`, and `outcomes` (0, or the negated errno
/// of a name that could not be looked up, whose metadata is left as it was).
public enum StatBatch {
    /// By plain calls, one after the other: the faster way where the names are in memory.
    public static func fill(
        _ directory: borrowing OwnedDescriptor, _ names: Span<NameRef>, in arena: NameArena,
        into metadata: StableArray<EntryMetadata>, outcomes: StableArray<Int32>, at first: Int
    ) {
        for index in names.indices {
            let name = arena.pointer(names[index])
            var result = ldl_stat()
            // Reason: the name is NUL-terminated, the result a local of the right type. 0x100 is AT_SYMLINK_NOFOLLOW.
            let outcome = unsafe ldl_statx(directory.number, name.address, 0x100, &result)
            outcomes[first + index] = outcome
            if outcome == 0 { metadata[first + index] = EntryMetadata(result) }
        }
    }

    /// Through `ring`, with as many in flight as it has slots; returns when all are done.
    ///
    /// Operations that the caller has in flight there go on; their completions wait for `nextCompletion`.
    /// Throws only when the ring itself fails.
    public static func fill(
        _ directory: borrowing OwnedDescriptor, _ names: Span<NameRef>, in arena: NameArena,
        into metadata: StableArray<EntryMetadata>, outcomes: StableArray<Int32>, at first: Int, through ring: inout Ring
    ) throws(LayerError) {
        for index in names.indices {
            try ring.core.startStat(
                directory.number, names[index], arena, metadata, outcomes, first + index, token: 0)
        }
        try ring.core.finishBatch()
    }
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
}
