public import LayerModel

/// Metadata that a walk will need soon, looked up many at a time through a ring, where each look alone would wait for a disk.
///
/// Where the names are in memory plain calls are twice as fast, so `auto` begins with them, takes the time of a few, and
/// changes over while they wait. What it gives is what the plain call gives. One per worker.
public struct LookAhead: ~Copyable {
    /// A name in a physical directory. Offsets in the arena tell names apart, since each is written once.
    private struct Key: Hashable {
        var directory: UInt32
        var name: Int
    }

    private let mode: IOMode
    private var ring: Ring?
    private var isRefused = false
    private var found: [Key: Int32] = [:]
    private var metadata: StableArray<EntryMetadata>?
    private var outcomes: StableArray<Int32>?
    private var count = 0

    /// Directories for which the looks are still taken to wait.
    private var coldDirectories = 0
    private var suspicion = 0
    private var looksSinceTimed = 0
    private var readsSinceTimed = 0

    /// Names looked up in one go.
    public static let window = 1024
    /// Operations in flight, and threads of the kernel that carry them out.
    private static let depth = 128
    private static let kernelThreads = 64
    /// A look that takes longer was not answered from memory.
    private static let slow = Duration.microseconds(80)
    /// The same of a file of up to 256 KiB that is read and written.
    private static let slowRead = Duration.microseconds(250)
    private static let readSampling = 4
    /// Looks between two whose time is taken, besides the first of each directory.
    private static let sampling = 64
    /// What a slow look counts is 2, a fast one -1; so much means that the tree is cold.
    private static let certain = 3
    /// How long the answer counts, in directories.
    private static let coldFor = 64

    private var batches: UInt64 = 0
    private var batched: UInt64 = 0
    private var timedSlow: UInt64 = 0

    public init(_ mode: IOMode) { self.mode = mode }

    /// Whether names are to be looked up ahead now.
    public var isOn: Bool { !isRefused && mode != .sync && (mode == .ring || coldDirectories > 0) }

    /// Whether looks wait for a disk.
    public var isCold: Bool { coldDirectories > 0 }

    /// A directory begins: the first look in it is timed, and what was found for the last one is forgotten.
    public mutating func begin() {
        looksSinceTimed = Self.sampling
        if coldDirectories > 0 { coldDirectories -= 1 }
        forget()
    }

    /// Forgets what was found.
    public mutating func forget() {
        guard count > 0 else { return }
        found.removeAll(keepingCapacity: true)
        count = 0
    }

    /// Whether the next plain look is to be timed.
    public mutating func times() -> Bool {
        guard mode == .auto, !isRefused else { return false }
        looksSinceTimed += 1
        guard looksSinceTimed > Self.sampling else { return false }
        looksSinceTimed = 0
        return true
    }

    /// Takes the time of a plain look: slow ones turn the ring on, also where every other one is fast because only one side of
    /// a comparison is cold; a single one does not.
    public mutating func note(_ time: Duration) { note(time, slowFrom: Self.slow) }

    /// Whether the reading of a small file is to be timed: names may be in memory, or come in the wake of one another, while
    /// each file's contents wait for the disk.
    mutating func timesRead() -> Bool {
        guard mode == .auto, !isRefused else { return false }
        readsSinceTimed += 1
        guard readsSinceTimed >= Self.readSampling else { return false }
        readsSinceTimed = 0
        return true
    }

    /// Takes the time in which a small file was read and its copy written.
    mutating func noteRead(_ time: Duration) { note(time, slowFrom: Self.slowRead) }

    private mutating func note(_ time: Duration, slowFrom limit: Duration) {
        guard time > limit else {
            suspicion = max(0, suspicion - 1)
            return
        }
        timedSlow += 1
        suspicion = min(suspicion + 2, Self.certain + 1)
        // The next one is timed at once, so that a large directory is found out soon.
        looksSinceTimed = Self.sampling
        if suspicion >= Self.certain { coldDirectories = Self.coldFor }
    }

    /// What was looked up ahead of `name` in a directory: 0 or the negated errno, and the metadata. Nil where it was not.
    public func result(_ name: NameRef, in directory: UInt32) -> (outcome: Int32, metadata: EntryMetadata)? {
        guard count > 0, let index = found[Key(directory: directory, name: name.offset)], let outcomes, let metadata
        else { return nil }
        return (outcomes[Int(index)], metadata[Int(index)])
    }

    /// Has a name looked up; its directory stays open until `finish`. Where the ring fails, or all places are taken, it is not,
    /// and a plain call will do it.
    public mutating func queue(
        _ name: NameRef, origin: UInt32, in directory: borrowing OwnedDescriptor, _ arena: NameArena
    ) {
        guard isOn, count < 2 * Self.window else { return }
        do throws(LayerError) { try prepare() } catch { return refuse() }
        guard var ring = ring.take(), let metadata, let outcomes else { return }
        do throws(LayerError) {
            try ring.stat(directory, name, in: arena, into: metadata, outcomes: outcomes, at: count)
        } catch { return refuse() }
        found[Key(directory: origin, name: name.offset)] = Int32(count)
        count += 1
        batched += 1
        self.ring = consume ring
    }

    /// Waits until everything queued is looked up.
    public mutating func finish() {
        guard count > 0, var ring = ring.take() else { return }
        do throws(LayerError) { try ring.finishStats() } catch { return refuse() }
        batches += 1
        let hasGivenUp = ring.hasGivenUp
        self.ring = consume ring
        if hasGivenUp { refuse() }
    }

    /// Plain calls from now on. What the kernel still writes goes where nobody looks.
    public mutating func refuse() {
        isRefused = true
        forget()
    }

    private mutating func prepare() throws(LayerError) {
        if metadata == nil {
            metadata = try StableArray(limit: 2 * Self.window)
            outcomes = try StableArray(limit: 2 * Self.window)
            _ = try metadata?.reserve(2 * Self.window)
            _ = try outcomes?.reserve(2 * Self.window)
        }
        if ring == nil {
            var made = try Ring(entries: Self.depth)
            made.limitKernelThreads(Self.kernelThreads)
            ring = consume made
        }
    }

    /// Adds what was done to the counts.
    public func count(into counters: inout IOCounters) {
        counters.batchedStats += batched
        counters.statBatches += batches
        counters.slowStats += timedSlow
        switch ring {
        case .some(let ring): ring.count(into: &counters)
        case .none: return
        }
    }
}
