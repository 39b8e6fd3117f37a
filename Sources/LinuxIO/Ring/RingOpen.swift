internal import CUring
internal import Glibc
public import LayerModel

/// Files opened many at a time, where each open waits for a disk. In memory, plain calls are faster.
extension Ring {
    /// Starts opening `name` of `directory`. The completion's result is the descriptor, which belongs to whoever takes the
    /// completion, or the negated errno. The caller keeps the directory open until then.
    public mutating func open(
        _ directory: borrowing OwnedDescriptor, _ name: NameRef, in arena: NameArena, _ flags: OpenFlags, token: UInt64
    ) throws(LayerError) {
        let index = try core.takeSlot(.open, directory.number, name, arena, token: token)
        core.slots[index].flags = flags.rawValue | O_CLOEXEC
        try core.queueOpen(index)
    }
}

extension RingCore {
    /// A free slot for an operation on a name.
    mutating func takeSlot(
        _ operation: RingOperation, _ directory: Int32, _ name: NameRef, _ arena: NameArena, token: UInt64
    ) throws(LayerError) -> Int {
        let index = try takeSlot(operation, token: token)
        slots[index].directory = directory
        slots[index].name = name
        slots[index].arena = arena
        return index
    }

    mutating func queueOpen(_ index: Int) throws(LayerError) {
        try makeSpace(1)
        guard let arena = slots[index].arena else { return }
        let (directory, name, flags) = (slots[index].directory, slots[index].name, slots[index].flags)
        // Reason: the slot keeps the arena, whose names never move.
        unsafe prepare(index) { unsafe io_uring_prep_openat($0, directory, arena.pointer(name).address, flags, 0) }
    }

    mutating func openCompleted(_ index: Int, _ result: Int32) throws(LayerError) {
        if result == -EINTR, !isClosing { return try queueOpen(index) }
        // Nobody will take it any more.
        if result >= 0, isClosing { _ = OwnedDescriptor(adopting: result) }
        finish(index, result >= 0 && isClosing ? -ECANCELED : result)
    }
}
