internal import Synchronization

/// Makes the ring behave as badly as a kernel may, in debug builds: completions that come late, in another order, short,
/// or with an errno, and a kernel that takes nothing any more in the middle of a run.
///
/// What happens depends on the seed and on the order of the completions only. Release builds have the names and do nothing.
public enum RingFaults {
    /// What goes wrong; sums of them are allowed.
    public struct Kinds: OptionSet, Sendable {
        public let rawValue: UInt8
        public init(rawValue: UInt8) { self.rawValue = rawValue }

        /// Completions are held back, and given in any order.
        public static let late = Kinds(rawValue: 1)
        /// Reads bring less than they could.
        public static let short = Kinds(rawValue: 2)
        /// Reads end with EINTR or EAGAIN and must be tried again.
        public static let retried = Kinds(rawValue: 4)
        /// A few reads end with EIO.
        public static let failing = Kinds(rawValue: 8)
        /// After a number of submissions the kernel refuses the ring.
        public static let refused = Kinds(rawValue: 16)
        /// Some reads and looks are not carried out: the kernel has no thread or no memory for them.
        public static let unserved = Kinds(rawValue: 32)
    }

    /// The plan of rings made from now on: the seed above, the kinds in the lowest byte. 0 is none.
    static let plan = Atomic<UInt64>(0)

    public static func begin(seed: UInt64, _ kinds: Kinds) {
        plan.store(seed << 8 | UInt64(kinds.rawValue), ordering: .relaxed)
    }

    public static func end() { plan.store(0, ordering: .relaxed) }
}

/// What one ring's plan does, and the completions that it holds back.
struct RingMischief {
    let kinds: RingFaults.Kinds
    private var state: UInt64
    private var held: [(userData: UInt64, result: Int32)] = []
    /// Submissions until the kernel refuses; negative for never.
    private var submissionsLeft: Int
    /// The ring waits: something held back must come now.
    var mustGive = false

    /// The plan of this moment; nil where there is none, and always in release builds.
    static var planned: RingMischief? {
        #if DEBUG
            let plan = RingFaults.plan.load(ordering: .relaxed)
            return plan == 0 ? nil : RingMischief(plan)
        #else
            return nil
        #endif
    }

    private init(_ plan: UInt64) {
        kinds = RingFaults.Kinds(rawValue: UInt8(truncatingIfNeeded: plan))
        state = plan &* 0x9e37_79b9_7f4a_7c15 | 1
        submissionsLeft = -1
        if kinds.contains(.refused) { submissionsLeft = Int(random(12)) }
    }

    private mutating func random(_ bound: UInt64) -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return (state >> 11) % bound
    }

    var holdsSome: Bool { !held.isEmpty }

    mutating func hold(_ userData: UInt64, _ result: Int32) { held.append((userData, result)) }

    /// One of the completions held back; nil while they are to wait.
    mutating func give() -> (userData: UInt64, result: Int32)? {
        guard !held.isEmpty else { return nil }
        guard mustGive || !kinds.contains(.late) || random(3) == 0 else { return nil }
        mustGive = false
        return held.remove(at: kinds.contains(.late) ? Int(random(UInt64(held.count))) : 0)
    }

    /// What becomes of a result that may be "not carried out": ECANCELED, ENOMEM.
    mutating func serve(_ result: Int32) -> Int32 {
        guard kinds.contains(.unserved), random(8) == 0 else { return result }
        return random(2) == 0 ? -125 : -12
    }

    /// What becomes of a read's result.
    mutating func change(_ result: Int32) -> Int32 {
        if kinds.contains(.failing), random(24) == 0 { return -5 }
        if kinds.contains(.retried), random(4) == 0 { return random(2) == 0 ? -4 : -11 }
        if kinds.contains(.short), result > 1, random(3) == 0 { return Int32(1 + random(UInt64(result))) }
        return result
    }

    /// Whether the kernel refuses the next submission.
    mutating func refuses() -> Bool {
        guard submissionsLeft >= 0 else { return false }
        if submissionsLeft == 0 { return true }
        submissionsLeft -= 1
        return false
    }
}
