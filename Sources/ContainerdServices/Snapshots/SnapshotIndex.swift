import LayerModel

/// A name compared by its bytes, as containerd does: Swift's String takes composed and decomposed letters for equal.
struct SnapshotName: Hashable, Sendable {
    private let bytes: [UInt8]
    init(_ text: String) { bytes = Array(text.utf8) }
}

/// One step of a transaction.
enum SnapshotChange: Sendable {
    /// Adds a record, or replaces the one with its id.
    case put(SnapshotRecord)
    /// Removes a record. Its storage stays, and is a snapshot's that has lost its record unless it is condemned as well.
    case remove(id: Int64)
    /// The storage of this id may go, whatever is in it, where no record speaks of it.
    case condemn(id: Int64)
    /// That is gone, or a record's.
    case acquit(id: Int64)
    /// The directories of all snapshots up to this id are on disk where they belong.
    case settled(upTo: Int64)
    /// The records are those of this store.
    case identify(String)

    var isRemoval: Bool { if case .remove = self { true } else { false } }
    /// Whether more is lost with it than work for Cleanup.
    var isNew: Bool { if case .put = self { true } else { false } }
}

/// All records, with the ways to find them. A value: a reader keeps the state it took.
struct SnapshotIndex: Sendable {
    private(set) var records: [Int64: SnapshotRecord] = [:]
    /// Ids whose storage may go. Written down, because the storage of a snapshot that has only lost its record looks alike.
    private(set) var condemned: Set<Int64> = []
    /// Which store's records these are; nil where an earlier version wrote them. See `StoreIdentity`.
    private(set) var identity: String?
    /// Up to this id no power failure takes a snapshot's directories back to the spares.
    private(set) var settled: Int64 = 0
    private var names: [SnapshotName: Int64] = [:]
    private var children: [Int64: Int] = [:]
    /// Committed snapshots by the chain id that they were unpacked for.
    private var references: [SnapshotName: Set<Int64>] = [:]

    init(_ records: [SnapshotRecord] = []) {
        for record in records { apply(.put(record)) }
    }

    func record(named name: String) -> SnapshotRecord? { names[SnapshotName(name)].flatMap { records[$0] } }

    func childCount(of id: Int64) -> Int { children[id] ?? 0 }

    /// The name of the parent; empty where there is none.
    func parentName(of record: SnapshotRecord) -> String { record.parent.flatMap { records[$0]?.name } ?? "" }

    /// The ids below a record, nearest first.
    func ancestors(of record: SnapshotRecord) -> [Int64] {
        var found: [Int64] = []
        var next = record.parent
        while let id = next, let record = records[id] {
            found.append(id)
            next = record.parent
        }
        return found
    }

    /// The ids of records whose ancestors never end, sorted: a damaged database only has them, and `ancestors` must not be asked.
    var endless: [Int64] {
        var chains = ParentChains<Int64>()
        return records.keys.filter { chains.areEndless(from: $0) { records[$0]?.parent } }.sorted()
    }

    /// A committed snapshot with these contents on this parent.
    func committed(for reference: String, on parent: Int64?) -> SnapshotRecord? {
        for id in references[SnapshotName(reference)] ?? [] {
            if let record = records[id], record.parent == parent { return record }
        }
        return nil
    }

    mutating func apply(_ change: SnapshotChange) {
        switch change {
        case .put(let record):
            forget(record.id)
            records[record.id] = record
            names[SnapshotName(record.name)] = record.id
            if let parent = record.parent { children[parent, default: 0] += 1 }
            if let reference = reference(of: record) { references[reference, default: []].insert(record.id) }
        case .remove(let id): forget(id)
        case .condemn(let id): condemned.insert(id)
        case .acquit(let id): condemned.remove(id)
        case .settled(let id): settled = max(settled, id)
        case .identify(let new): identity = new
        }
    }

    /// Whether what lies among the spares under this id is a snapshot's whose move a power failure undid. Of an empty one only
    /// where the records say that its move was not on disk yet, and not that something was in it: else it may be the spare
    /// that the snapshot was before it was filled, on an older copy of the disk.
    func provesMove(of id: Int64, _ form: StoredForm) -> Bool {
        guard let record = records[id] else { return false }
        guard form == .empty else { return form != .absent }
        return id > settled && !(record.kind == .committed && record.usage.inodes > 1)
    }

    private mutating func forget(_ id: Int64) {
        guard let record = records.removeValue(forKey: id) else { return }
        let name = SnapshotName(record.name)
        if names[name] == id { names[name] = nil }
        if let parent = record.parent, let count = children[parent] {
            children[parent] = count > 1 ? count - 1 : nil
        }
        if let reference = reference(of: record) {
            references[reference]?.remove(id)
            if references[reference]?.isEmpty == true { references[reference] = nil }
        }
    }

    private func reference(of record: SnapshotRecord) -> SnapshotName? {
        guard record.kind == .committed else { return nil }
        return record.labels[SnapshotLabel.reference].map(SnapshotName.init)
    }
}
