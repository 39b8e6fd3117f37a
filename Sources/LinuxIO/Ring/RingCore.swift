internal import CUring
internal import Glibc
internal import LayerModel

/// The one place that hands entries to the kernel and takes completions back.
///
/// Completions are turned into `finished` records; no caller's code runs while the queue is being reaped.
@safe
struct RingCore: ~Copyable {
    var slots: RingSlots
    var finished = CompletionQueue()
    /// Entries handed to the kernel, and calls of io_uring_enter(2) that this needed.
    private(set) var submissions: UInt64 = 0
    private(set) var enters: UInt64 = 0
    /// Batched operations that have not completed, see `RingSlot.outcomes`.
    var batchPending = 0
    /// Set when the kernel refuses the ring: nothing that is in flight will be reported any more.
    private(set) var hasFailed = false
    /// Set when the kernel could not carry out something that it took, having no thread for it, at a limit of processes, or no
    /// memory. It tries for fifty milliseconds before it says so, each time: whoever can do without the ring does from then on.
    var hasGivenUp = false
    /// Always nil in release builds.
    private var mischief = RingMischief.planned

    /// Prepared entries whose completions have not been reaped.
    private var owed = 0
    private let ring: UnsafeMutablePointer<io_uring>
    /// For calls that neither prepare nor reap. Reason: whoever asks uses it at once, while the ring lives.
    @unsafe var ringAddress: UnsafeMutablePointer<io_uring> { unsafe ring }
    private let peeked: UnsafeMutablePointer<UnsafeMutablePointer<io_uring_cqe>?>

    /// A cancel request's own completion.
    private static let cancelMark = UInt64.max
    /// The fewest slots of a ring.
    private static let fewest = 4

    init(entries: Int) throws(LayerError) {
        let capabilities = RingCapabilities.current
        if let reason = capabilities.reason { throw Self.unavailable(reason) }
        let wanted = UInt32(min(max(entries, Self.fewest), 4096))
        var parameters = io_uring_params()
        parameters.flags = Kernel.setupCompletionQueueSize
        if capabilities.defersWork {
            parameters.flags |=
                Kernel.setupSingleIssuer | Kernel.setupDeferTaskRun | Kernel.setupTaskRunFlag
        }
        // Every slot has at most one completion on the way, and one of a cancel, so the queue cannot overflow.
        parameters.cq_entries = wanted * 2
        // Reason: the ring's memory stays in place until `shutDown`; liburing fills it.
        let made = UnsafeMutablePointer<io_uring>.allocate(capacity: 1)
        unsafe made.initialize(to: io_uring())
        let result = unsafe io_uring_queue_init_params(wanted, made, &parameters)
        guard result >= 0 else {
            unsafe made.deallocate()
            throw Self.unavailable(
                RingCapabilities.refused(errno: -result, sysctl: nil).reason ?? "io_uring cannot be set up")
        }
        unsafe ring = made
        // Reason: one cell, freed in `shutDown`.
        unsafe peeked = .allocate(capacity: 1)
        unsafe peeked.initialize(to: nil)
        slots = RingSlots(capacity: Int(wanted))
    }

    @inline(never)
    private static func unavailable(_ reason: String) -> LayerError {
        LayerError(.unsupported, "set up io_uring", cause: .reason(reason))
    }

    // MARK: Preparing

    /// A free slot; waits for a completion where all are taken.
    mutating func takeSlot(_ operation: RingOperation, token: UInt64) throws(LayerError) -> Int {
        while true {
            if let index = slots.take(operation, token: token) { return index }
            if try reap() == 0 { try wait() }
        }
    }

    /// Makes sure that `count` entries can be prepared.
    mutating func makeSpace(_ count: Int) throws(LayerError) {
        // Reason, here and below: the ring is set up and belongs to this thread.
        while unsafe Int(io_uring_sq_space_left(ring)) < count { try submit() }
    }

    /// Prepares one entry for a slot; `makeSpace` has been called.
    mutating func prepare(
        _ index: Int, _ fill: (UnsafeMutablePointer<io_uring_sqe>) -> Void
    ) {
        // Reason: liburing gives an entry that is ours until submitted; it is filled at once.
        guard let entry = unsafe io_uring_get_sqe(ring) else { preconditionFailure("no space was made for an entry") }
        unsafe fill(entry)
        unsafe io_uring_sqe_set_data64(entry, slots.userData(index))
        slots[index].pending += 1
        owed += 1
    }

    // MARK: Submitting and waiting

    /// Prepared entries that the kernel has not taken yet.
    private var unsubmitted: Int { unsafe Int(io_uring_sq_ready(ring)) }

    /// Hands all prepared entries to the kernel.
    mutating func submit() throws(LayerError) {
        while unsubmitted > 0 {
            enters += 1
            if mischief?.refuses() == true { throw failed(EPERM) }
            let result = unsafe io_uring_submit(ring)
            if result > 0 { submissions += UInt64(result) } else { try makeProgress(after: result) }
        }
    }

    /// Submits what is prepared and waits for one completion, without reaping it.
    mutating func wait() throws(LayerError) {
        precondition(owed > 0, "nothing is in flight that could be waited for")
        if mischief?.holdsSome == true {
            mischief?.mustGive = true
            return
        }
        while unsafe io_uring_cq_ready(ring) == 0 {
            enters += 1
            if mischief?.refuses() == true { throw failed(EPERM) }
            let result = unsafe io_uring_submit_and_wait(ring, 1)
            if result >= 0 { submissions += UInt64(result) } else { try makeProgress(after: result) }
        }
    }

    /// What to do when an enter took nothing: EINTR is tried again; EAGAIN and EBUSY (no memory, or completions pile
    /// up) need completions to be reaped first; everything else is an error.
    private mutating func makeProgress(after result: Int32) throws(LayerError) {
        switch -result {
        case EINTR:
            return
        case 0, EAGAIN, EBUSY:
            mischief?.mustGive = true
            if try reap() > 0 { return }
            guard owed > unsubmitted else { throw failed(result == 0 ? EAGAIN : -result) }
            enters += 1
            let waited = unsafe io_uring_wait_cqe_nr(ring, peeked, 1)
            if waited < 0, waited != -EINTR, waited != -EAGAIN { throw failed(-waited) }
        default:
            throw failed(-result)
        }
    }

    @inline(never)
    private mutating func failed(_ errno: Int32) -> LayerError {
        hasFailed = true
        return LayerError(SystemCallError("io_uring_enter", errno: errno), "use io_uring", path: nil)
    }

    /// Takes every completion that is there; returns how many. Enters the kernel only where it says that it holds
    /// some back.
    @discardableResult
    mutating func reap() throws(LayerError) -> Int {
        var count = 0
        // Reason: kflags points into the ring's mapped memory for as long as the ring lives.
        if unsafe io_uring_cq_ready(ring) == 0, unsafe ring.pointee.sq.kflags.pointee & Kernel.queueNeedsEnter != 0 {
            enters += 1
            let result = unsafe io_uring_get_events(ring)
            if result < 0, result != -EINTR, result != -EAGAIN, result != -EBUSY { throw failed(-result) }
        }
        while let (userData, result) = takeCompletion() {
            count += 1
            guard userData != Self.cancelMark else { continue }
            precondition(owed > 0, "more completions than operations")
            owed -= 1
            let index = slots.slot(of: userData)
            slots[index].pending -= 1
            var outcome = result
            if mischief != nil, slots[index].operation == .read || slots[index].operation == .stat {
                outcome = mischief?.serve(result) ?? result
                if outcome == result, slots[index].operation == .read { outcome = mischief?.change(result) ?? result }
            }
            try completed(index, result: outcome)
        }
        return count
    }

    /// The next completion that the kernel has ready.
    private mutating func takeCompletion() -> (userData: UInt64, result: Int32)? {
        while unsafe io_uring_peek_batch_cqe(ring, peeked, 1) == 1, let completion = unsafe peeked.pointee {
            let userData = unsafe completion.pointee.user_data
            let result = unsafe completion.pointee.res
            unsafe io_uring_cq_advance(ring, 1)
            guard mischief != nil else { return (userData, result) }
            mischief?.hold(userData, result)
        }
        return mischief?.give()
    }

    /// The next finished operation.
    mutating func next(wait shouldWait: Bool) throws(LayerError) -> RingCompletion? {
        while true {
            if let first = finished.takeFirst() { return first }
            if try reap() > 0 { continue }
            guard shouldWait, owed > 0 else { return nil }
            try wait()
        }
    }

    /// Reports a finished operation and frees its slot.
    mutating func finish(_ index: Int, _ result: Int32) {
        finished.append(
            RingCompletion(
                token: slots[index].token, result: result,
                isDescriptor: slots[index].operation == .open && result >= 0))
        slots.free(index)
    }

    // MARK: The end

    /// Cancels what is in flight and waits until the kernel has let go of everything.
    ///
    /// Should that fail (it cannot, short of a use from the wrong thread), the buffers are left allocated for ever:
    /// a leak is harmless, a kernel write into memory of someone else is not.
    consuming func shutDown() {
        let drained = drain()
        // Reason: nothing is in flight, or the slots are kept; the ring itself may go in either case.
        unsafe io_uring_queue_exit(ring)
        unsafe ring.deallocate()
        unsafe peeked.deallocate()
        while let completion = finished.takeFirst() {
            if completion.isDescriptor { _ = OwnedDescriptor(adopting: completion.result) }
        }
        if drained { slots.destroy() }
    }

    private mutating func drain() -> Bool {
        guard owed > 0 else { return true }
        do throws(LayerError) {
            isClosing = true
            try submit()
            for index in 0..<slots.capacity where slots[index].operation != .free {
                try makeSpace(1)
                // Reason: space was made, and the entry is filled at once.
                guard let entry = unsafe io_uring_get_sqe(ring) else { continue }
                unsafe io_uring_prep_cancel64(entry, slots.userData(index), 0)
                unsafe io_uring_sqe_set_data64(entry, Self.cancelMark)
            }
            try submit()
            while owed > 0 {
                try wait()
                try reap()
            }
            return true
        } catch {
            return false
        }
    }

    /// Set while draining: nothing is resubmitted any more.
    private(set) var isClosing = false
}
