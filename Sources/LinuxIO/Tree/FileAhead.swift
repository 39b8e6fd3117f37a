import LayerModel

/// Small files of one directory, opened and read many at a time through a ring: for copies of what lies on a disk, where each
/// open and each read would be waited for alone.
///
/// A file is read through the descriptor that was opened, after that was seen to be the file whose metadata are known.
struct FileAhead: ~Copyable {
    /// A file that is to be read, and what came of it.
    struct Item {
        var name: NameRef
        var metadata: EntryMetadata
        /// The open file; nil where it could not be opened, which opening it once more will explain.
        var file: SharedDescriptor?
        /// It is not the file that was looked at any more; nothing was read of it.
        var isChanged = false
        /// Where its bytes lie in the slab, and how many there were; nil where they could not be read.
        var start = 0
        var count: Int?

        init(_ name: NameRef, _ metadata: EntryMetadata) {
            self.name = name
            self.metadata = metadata
        }
    }

    private var ring: Ring?
    let slab = Slab(capacity: FileAhead.slabByteCount)
    /// See `Ring`.
    private(set) var hasGivenUp = false

    /// The largest file that is read so.
    static let largest: Int64 = 256 << 10
    static let slabByteCount = 8 << 20
    /// Files in flight, and the descriptors they take.
    static let window = 64

    /// Whether a file is read so: one with holes has its data looked for, one with several names may be there already.
    static func takes(_ metadata: EntryMetadata) -> Bool {
        metadata.kind == .regular && metadata.linkCount == 1 && metadata.size > 0 && metadata.size <= largest
            && metadata.blocks >= UInt64(metadata.size + 511) / 512
    }

    /// Opens and reads at most `window` files, whose sizes together fit the slab. Throws where the ring fails; what was read
    /// by then is no use.
    mutating func read(
        _ items: inout [Item], in directory: borrowing OwnedDescriptor, _ arena: NameArena
    ) throws(LayerError) {
        precondition(items.count <= Self.window)
        if ring == nil {
            var made = try Ring(entries: Self.window)
            made.limitKernelThreads(Self.window)
            ring = consume made
        }
        guard var ring = ring.take() else { return }
        for index in items.indices {
            try ring.open(directory, items[index].name, in: arena, .contents, token: UInt64(index))
        }
        while let completion = try ring.nextCompletion(wait: true) {
            guard completion.result >= 0 else { continue }
            items[Int(completion.token)].file = SharedDescriptor(OwnedDescriptor(adopting: completion.result))
        }
        var next = 0
        for index in items.indices {
            guard let file = items[index].file else { continue }
            guard let now = try? file.descriptor.metadata(), now.isRegular(FileIdentity(items[index].metadata)) else {
                items[index].isChanged = true
                continue
            }
            items[index].metadata = now
            // What it has grown since is for the plain way.
            guard Self.takes(now), next + Int(now.size) <= Self.slabByteCount else { continue }
            items[index].start = next
            try ring.read(
                through: file, into: slab, next..<next + Int(now.size), at: 0, token: UInt64(index))
            next += Int(now.size)
        }
        while let completion = try ring.nextCompletion(wait: true) {
            if completion.result >= 0 { items[Int(completion.token)].count = Int(completion.result) }
        }
        hasGivenUp = ring.hasGivenUp
        self.ring = consume ring
    }

    /// Adds what went through the ring to the counts.
    func count(into counters: inout IOCounters) {
        switch ring {
        case .some(let ring): ring.count(into: &counters)
        case .none: return
        }
    }
}
