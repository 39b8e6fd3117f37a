/// What must hold before an operation changes anything. Asked twice: before storage is made, and when the
/// change is recorded.
enum SnapshotRules {
    /// Longest key or name: what containerd's own database takes.
    static let longestName = 32_768
    /// Longest key and value of a label together: containerd's own limit.
    static let longestLabel = 4096

    /// Whether containerd's key says that a layer is unpacked into the snapshot, so that nobody has mounted it.
    static func isUnpacked(intoKey key: String) -> Bool {
        key.split(separator: "/").last?.hasPrefix("extract-") ?? false || key.hasPrefix("extract-")
            || key.contains("/extract-")
    }

    /// Refuses names that cannot be kept.
    static func name(_ name: String, _ operation: String) throws(ServiceFailure) {
        let reason: String? =
            if name.isEmpty {
                "a key is required"
            } else if name.utf8.count > longestName {
                "the key is longer than \(longestName) bytes"
            } else if name.utf8.contains(0) {
                "the key has a NUL in it"
            } else {
                nil
            }
        if let reason { throw ServiceFailure(.invalidArgument, "\(operation): \(reason)") }
    }

    /// The labels that are kept: all but empty ones.
    static func labels(_ labels: [String: String], _ operation: String) throws(ServiceFailure) -> [String: String] {
        for (name, value) in labels {
            guard name.utf8.count + value.utf8.count <= longestLabel else {
                throw ServiceFailure(
                    .invalidArgument,
                    "\(operation): label \(quoted(String(name.prefix(64)))) is longer than \(longestLabel) bytes")
            }
            guard !name.utf8.contains(0), !value.utf8.contains(0) else {
                throw ServiceFailure(.invalidArgument, "\(operation): label \(quoted(name)) has a NUL in it")
            }
        }
        return labels.filter { $0.key != SnapshotLabel.upperDirectory && !$0.value.isEmpty }
    }

    static func find(_ index: SnapshotIndex, _ key: String, _ operation: String) throws(ServiceFailure)
        -> SnapshotRecord
    {
        guard let record = index.record(named: key) else {
            throw ServiceFailure(.notFound, "\(operation): snapshot \(quoted(key)) does not exist")
        }
        return record
    }

    /// The id of the parent of a new snapshot; nil for none.
    ///
    /// With `sharing`, the chain id of the layer to be unpacked, a committed snapshot of it is as good as one with the key.
    static func base(
        _ index: SnapshotIndex, key: String, parent: String, sharing reference: String?, _ operation: String
    ) throws(ServiceFailure) -> Int64? {
        guard index.record(named: key) == nil else {
            throw ServiceFailure(.alreadyExists, "\(operation): snapshot \(quoted(key))")
        }
        let base = try committedParent(index, parent, wrongKind: .invalidArgument, operation)
        if let reference, let shared = index.committed(for: reference, on: base) {
            throw ServiceFailure(
                .alreadyExists, "\(operation): target snapshot \(quoted(reference)) is \(quoted(shared.name))")
        }
        return base
    }

    private static func committedParent(
        _ index: SnapshotIndex, _ parent: String, wrongKind: ServiceFailure.Class, _ operation: String
    ) throws(ServiceFailure) -> Int64? {
        guard !parent.isEmpty else { return nil }
        guard let record = index.record(named: parent) else {
            throw ServiceFailure(.notFound, "\(operation): parent snapshot \(quoted(parent)) does not exist")
        }
        guard record.kind == .committed else {
            throw ServiceFailure(wrongKind, "\(operation): parent \(quoted(parent)) is not a committed snapshot")
        }
        return record.id
    }

    /// The active snapshot that becomes `name`, and the parent that it has then.
    static func commit(
        _ index: SnapshotIndex, name: String, key: String, parent: String, takesLateParents: Bool, _ operation: String
    ) throws(ServiceFailure) -> (record: SnapshotRecord, parent: Int64?) {
        let record = try find(index, key, operation)
        guard record.kind == .active else {
            throw ServiceFailure(
                .failedPrecondition, "\(operation): it is a \(record.kind.word) snapshot, not an active one")
        }
        guard index.record(named: name) == nil else {
            throw ServiceFailure(.alreadyExists, "\(operation): snapshot \(quoted(name))")
        }
        guard !parent.isEmpty, index.parentName(of: record).utf8.elementsEqual(parent.utf8) == false else {
            return (record, record.parent)
        }
        guard record.parent == nil, takesLateParents else {
            throw ServiceFailure(
                .invalidArgument,
                record.parent == nil
                    ? "\(operation): this driver takes no parent at commit"
                    : "\(operation): its parent is \(quoted(index.parentName(of: record))), not \(quoted(parent))")
        }
        let late = try committedParent(index, parent, wrongKind: .failedPrecondition, operation)
        // A bind mount was told for it, in which the layer's deletions are no markers but are lost.
        guard record.isRebased else {
            throw ServiceFailure(
                .failedPrecondition,
                "\(operation): it was prepared as a base, without a place for deletions; with containerd's capability "
                    + "\"rebase\" set rebase = true in the section [snapshot] of the daemon's configuration")
        }
        return (record, late)
    }
}
