internal import CUring
internal import Glibc
internal import LayerModel

/// What each operation does when it starts and when the kernel has answered.
extension RingCore {
    /// Starts the read of a slot that has its descriptor.
    mutating func startRead(_ index: Int, _ slab: Slab, _ range: Range<Int>, at offset: Int64) throws(LayerError) {
        slots.hold(index, slab, range)
        slots[index].offset = offset
        if range.isEmpty { finish(index, 0) } else { try startRead(index) }
    }

    /// Queues the read of what is left of a slot's range.
    mutating func startRead(_ index: Int) throws(LayerError) {
        try makeSpace(1)
        let descriptor = slots.descriptorNumber(index)
        let offset = slots[index].offset + Int64(slots[index].done)
        guard let slab = slots[index].slab else { return }
        let range = slots[index].start + slots[index].done..<slots[index].end
        // Reason: the range lies inside the slab, which the slot keeps alive until the completion.
        unsafe prepare(index) { entry in
            unsafe slab.withUnsafeAddress(range) {
                unsafe io_uring_prep_read(entry, descriptor, $0, UInt32(range.count), UInt64(bitPattern: offset))
            }
        }
    }

    /// Takes one completion of a slot. Calls no code of the ring's owner.
    mutating func completed(_ index: Int, result: Int32) throws(LayerError) {
        if result == -ECANCELED || result == -ENOMEM, !isClosing { hasGivenUp = true }
        switch slots[index].operation {
        case .free:
            preconditionFailure("a completion for a free slot")
        case .read:
            try readCompleted(index, result)
        case .stat:
            try statCompleted(index, result)
        case .open:
            try openCompleted(index, result)
        }
    }

    private mutating func readCompleted(_ index: Int, _ result: Int32) throws(LayerError) {
        let wanted = slots[index].end - slots[index].start
        if result > 0 {
            slots[index].done += Int(result)
            if slots[index].done < wanted, !isClosing { return try startRead(index) }
        } else if result < 0 {
            if result == -EINTR, !isClosing { return try startRead(index) }
            let canBePlain = result == -EAGAIN || result == -ECANCELED || result == -ENOMEM
            return finish(index, canBePlain && !isClosing ? readPlainly(index) : result)
        }
        finish(index, Int32(slots[index].done))
    }

    /// Some file systems refuse to be read without waiting when the descriptor is non-blocking, and the kernel may have no
    /// thread for it; then the plain call has to do it. Returns bytes in all or the negated errno.
    private mutating func readPlainly(_ index: Int) -> Int32 {
        let wanted = slots[index].end - slots[index].start
        guard let slab = slots[index].slab else { return -EINVAL }
        while slots[index].done < wanted {
            let done = slots[index].done
            let range = slots[index].start + done..<slots[index].end
            do throws(SystemCallError) {
                let offset = slots[index].offset + Int64(done)
                let count =
                    if let shared = slots[index].shared {
                        try shared.descriptor.read(into: slab, range, at: offset)
                    } else {
                        try slots[index].descriptor?.read(into: slab, range, at: offset) ?? 0
                    }
                if count == 0 { break }
                slots[index].done += count
            } catch {
                return error.errno == ESPIPE ? -EAGAIN : -error.errno
            }
        }
        return Int32(slots[index].done)
    }
}
