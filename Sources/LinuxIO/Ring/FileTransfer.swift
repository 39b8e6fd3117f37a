internal import CUring
internal import Glibc
public import LayerModel

/// Whole small files in one operation each: open, read or write, close.
///
/// Where the kernel can (Linux 5.19), the three are one linked chain over the ring's own file table, so that a file
/// costs no system call of its own; before that, the steps follow one another from completion to completion.
/// Meant for names and contents that come from a disk: in memory, plain calls are faster.
extension Ring {
    /// Starts reading the first `range.count` bytes of the regular file `name` of `directory` into a part of `slab`.
    ///
    /// The completion's result is the byte count in all, less than asked for only where the file ends, or the negated
    /// errno of the first step that failed (ELOOP for a symbolic link). The caller keeps the directory open until
    /// then; nobody may use the range.
    public mutating func readFile(
        _ directory: borrowing OwnedDescriptor, _ name: NameRef, in arena: NameArena, into slab: Slab,
        _ range: Range<Int>, token: UInt64
    ) throws(LayerError) {
        // Non-blocking, so that a FIFO that took the file's place does not hold up a kernel thread.
        try core.startTransfer(
            .readFile, directory.number, name, arena, slab, range, flags: O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
            mode: 0, token: token)
    }

    /// Starts opening `name` of `directory`. The completion's result is the descriptor, which belongs to whoever takes the
    /// completion, or the negated errno. The caller keeps the directory open until then.
    public mutating func open(
        _ directory: borrowing OwnedDescriptor, _ name: NameRef, in arena: NameArena, _ flags: OpenFlags, token: UInt64
    ) throws(LayerError) {
        try core.startOpen(directory.number, name, arena, flags: flags.rawValue, token: token)
    }

    /// Starts making the regular file `name` in `directory` with `mode` and the bytes of a part of `slab`.
    ///
    /// The completion's result is the byte count, or the negated errno of the first step that failed: EEXIST where
    /// the name is taken. After another failure the file may exist in part. The rest is as for `readFile`.
    public mutating func writeFile(
        _ directory: borrowing OwnedDescriptor, _ name: NameRef, in arena: NameArena, mode: UInt32, from slab: Slab,
        _ range: Range<Int>, token: UInt64
    ) throws(LayerError) {
        try core.startTransfer(
            .writeFile, directory.number, name, arena, slab, range, flags: O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
            mode: mode, token: token)
    }
}

extension RingCore {
    /// Steps of a chain, as they stand in the user data.
    private enum Step {
        static let open: UInt8 = 0
        static let move: UInt8 = 1
        static let close: UInt8 = 2
    }

    mutating func startTransfer(
        _ operation: RingOperation, _ directory: Int32, _ name: NameRef, _ arena: NameArena, _ slab: Slab,
        _ range: Range<Int>, flags: Int32, mode: UInt32, token: UInt64
    ) throws(LayerError) {
        let index = try takeSlot(operation, token: token)
        slots.hold(index, slab, range)
        slots[index].directory = directory
        slots[index].name = name
        slots[index].arena = arena
        slots[index].offset = 0
        slots[index].flags = flags
        slots[index].mode = mode
        if useFileTable() { return try queueChain(index) }
        slots[index].operation = operation == .readFile ? .openForRead : .openForWrite
        try queueOpen(index)
    }

    mutating func startOpen(
        _ directory: Int32, _ name: NameRef, _ arena: NameArena, flags: Int32, token: UInt64
    ) throws(LayerError) {
        let index = try takeSlot(.open, token: token)
        slots[index].directory = directory
        slots[index].name = name
        slots[index].arena = arena
        slots[index].flags = flags
        slots[index].mode = 0
        try queueOpen(index)
    }

    /// Queues open, move and close of what is left of a slot's range.
    private mutating func queueChain(_ index: Int) throws(LayerError) {
        try makeSpace(Self.chainLength)
        guard let arena = slots[index].arena, let slab = slots[index].slab else { return }
        slots[index].failure = 0
        slots[index].moved = 0
        let (directory, name, flags, mode) =
            (slots[index].directory, slots[index].name, slots[index].flags, slots[index].mode)
        // Reason: the slot keeps the arena, whose names never move.
        unsafe prepare(index, step: Step.open, flags: Kernel.entryLink) { entry in
            unsafe io_uring_prep_openat_direct(
                entry, directory, arena.pointer(name).address, flags, mode, UInt32(index))
        }
        let range = slots[index].start + slots[index].done..<slots[index].end
        let offset = UInt64(slots[index].done)
        let reads = slots[index].operation == .readFile
        // A short transfer counts as a failure of the link, but the file has to be closed all the same.
        // Reason: the range lies inside the slab, which the slot keeps alive until the completion.
        unsafe prepare(index, step: Step.move, flags: Kernel.entryFixedFile | Kernel.entryHardLink) { entry in
            unsafe slab.withUnsafeAddress(range) { address in
                if reads {
                    unsafe io_uring_prep_read(entry, Int32(index), address, UInt32(range.count), offset)
                } else {
                    unsafe io_uring_prep_write(entry, Int32(index), address, UInt32(range.count), offset)
                }
            }
        }
        // Reason: the entry is filled with a number only.
        unsafe prepare(index, step: Step.close) { unsafe io_uring_prep_close_direct($0, UInt32(index)) }
    }

    mutating func chainCompleted(_ index: Int, step: UInt8, _ result: Int32) throws(LayerError) {
        if result < 0 {
            // The steps after a failed one say ECANCELED; what counts is why.
            let known = slots[index].failure
            if known == 0 || known == -ECANCELED { slots[index].failure = result }
        } else if step == Step.move {
            slots[index].moved = result
        }
        guard slots[index].pending == 0 else { return }
        let failure = slots[index].failure
        if failure == 0 {
            slots[index].done += Int(slots[index].moved)
            let isWhole = slots[index].done == slots[index].end - slots[index].start
            if isWhole || isClosing || (slots[index].moved == 0 && slots[index].operation == .readFile) {
                return finish(index, Int32(slots[index].done))
            }
            guard slots[index].moved > 0 else { return finish(index, -EIO) }
            // The file exists by now.
            slots[index].flags &= ~(O_CREAT | O_EXCL)
            return try queueChain(index)
        }
        if isClosing { return finish(index, failure) }
        if failure == -EINTR { return try queueChain(index) }
        // EAGAIN: this file system cannot read a non-blocking file without waiting; a descriptor of our own can.
        guard failure == -EAGAIN, slots[index].operation == .readFile else { return finish(index, failure) }
        slots[index].operation = .openForRead
        try queueOpen(index)
    }

    // MARK: Without the file table

    private mutating func queueOpen(_ index: Int) throws(LayerError) {
        try makeSpace(1)
        guard let arena = slots[index].arena else { return }
        let (directory, name, mode) = (slots[index].directory, slots[index].name, slots[index].mode)
        let flags = slots[index].flags | O_CLOEXEC
        // Reason: the slot keeps the arena, whose names never move.
        unsafe prepare(index) { entry in
            unsafe io_uring_prep_openat(entry, directory, arena.pointer(name).address, flags, mode)
        }
    }

    mutating func openCompleted(_ index: Int, _ result: Int32) throws(LayerError) {
        guard result >= 0 else {
            if result == -EINTR, !isClosing { return try queueOpen(index) }
            return finish(index, result)
        }
        if slots[index].operation == .open, !isClosing { return finish(index, result) }
        slots[index].descriptor = OwnedDescriptor(adopting: result)
        if isClosing { return finish(index, -ECANCELED) }
        let reads = slots[index].operation == .openForRead
        slots[index].operation = reads ? .read : .write
        if slots[index].done == slots[index].end - slots[index].start {
            finish(index, Int32(slots[index].done))
        } else if reads {
            try startRead(index)
        } else {
            try queueWrite(index)
        }
    }

    private mutating func queueWrite(_ index: Int) throws(LayerError) {
        try makeSpace(1)
        guard let slab = slots[index].slab else { return }
        let descriptor = slots.descriptorNumber(index)
        let range = slots[index].start + slots[index].done..<slots[index].end
        let offset = UInt64(slots[index].done)
        // Reason: the range lies inside the slab, which the slot keeps alive until the completion.
        unsafe prepare(index) { entry in
            unsafe slab.withUnsafeAddress(range) {
                unsafe io_uring_prep_write(entry, descriptor, $0, UInt32(range.count), offset)
            }
        }
    }

    mutating func writeCompleted(_ index: Int, _ result: Int32) throws(LayerError) {
        if result < 0 {
            if result == -EINTR, !isClosing { return try queueWrite(index) }
            return finish(index, result)
        }
        slots[index].done += Int(result)
        if slots[index].done < slots[index].end - slots[index].start, !isClosing {
            return result > 0 ? try queueWrite(index) : finish(index, -EIO)
        }
        // Closing a written file may be what reports a full or broken disk.
        do throws(SystemCallError) {
            try slots[index].descriptor.take()?.close()
            finish(index, Int32(slots[index].done))
        } catch {
            finish(index, -error.errno)
        }
    }
}
