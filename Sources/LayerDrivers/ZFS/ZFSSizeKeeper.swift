import LayerModel
import LayerMounts
import LinuxIO

/// Writes the records of `ZFSSizeRecords`, and makes the snapshots that they are believed by.
struct ZFSSizeKeeper: Sendable {
    let records: ZFSSizeRecords
    let store: ZFSStore
    private let writer = StoreWriter()

    init(_ records: ZFSSizeRecords, _ store: ZFSStore) {
        self.records = records
        self.store = store
    }

    private func write(_ id: LayerID, token: String, _ size: RecordedSize?) throws(LayerError) {
        let bytes = size.map { String($0.byteCount) } ?? "-"
        let entries = size.map { String($0.entryCount) } ?? "-"
        let text = "\(ZFSSizeRecords.heading)\nsnapshot \(token)\nbytes \(bytes)\nentries \(entries)\n"
        try writer.makeDirectory(records.directory, mode: 0o700, owner: .current)
        // In place, so that nothing else is left when the process ends meanwhile: a part of a record is none.
        try writer.write(inPlace: records.path(id)) { () throws(LayerError) in Array(text.utf8) }
    }

    /// Voids the record, before the layer may change; also when the layer goes.
    func forget(_ id: LayerID) throws(LayerError) { try writer.unlink(records.path(id)) }

    /// Says that the layer was applied, so that its size is kept once it is counted.
    func expect(_ id: LayerID) throws(LayerError) { try write(id, token: "-", nil) }

    /// Takes the snapshot that a size which is counted from now on is believed by; nil where that fails.
    func begin(_ id: LayerID) -> String? {
        let token = StoreFiles.randomText()
        let command = [
            "snapshot", "-o", "\(ZFSSizeRecords.property)=\(token)", "-o", "\(ZFSNames.maker)=\(ZFSMaker.current.text)",
            records.snapshot(id),
        ]
        do throws(ZFSFailure) {
            try store.tool.zfs(command)
        } catch {
            // Of an earlier count; what somebody else called so stays, and no size is kept.
            guard error.kind == .exists, let found = try? store.view.look(records.snapshot(id)), found.sizeToken != nil,
                store.dropSnapshot(records.snapshot(id)), (try? store.tool.zfs(command)) != nil
            else { return nil }
        }
        ZFSMaker.begin(records.snapshot(id))
        return token
    }

    /// Keeps the size of a layer that was unpacked, and is not mounted any more. `isBare`: it was all that the layer holds.
    ///
    /// The layer is complete: a size that cannot be kept is counted when it is asked for, as that of a layer on a parent, of
    /// which only a comparison tells what the parent has alike.
    func keepApplied(_ size: RecordedSize, of id: LayerID, isBare: Bool) {
        guard isBare, let token = begin(id) else {
            try? expect(id)
            return
        }
        defer { ZFSMaker.end(records.snapshot(id)) }
        do throws(LayerError) { try write(id, token: token, size) } catch { drop(id) }
    }

    /// Keeps the size of a layer that was counted after `begin`, if nothing has changed since then.
    func keepIfUnchanged(_ size: RecordedSize, of id: LayerID, origin: String?, token: String) -> Bool {
        guard records.isUnchanged(id, origin: origin, token: token[...]) else { return false }
        defer { ZFSMaker.end(records.snapshot(id)) }
        do throws(LayerError) {
            try write(id, token: token, size)
            return true
        } catch {
            return false
        }
    }

    /// Gives up what `begin` began.
    func drop(_ id: LayerID) {
        ZFSMaker.end(records.snapshot(id))
        // Another count's, if there is a record by now.
        if let found = try? store.view.look(records.snapshot(id)), found.sizeToken != nil {
            _ = store.dropSnapshot(found.name)
        }
    }
}

/// The counting of a layer whose size is to be kept: from before the first look to after the last.
final class ZFSSizeRecording: SizeRecording {
    private let keeper: ZFSSizeKeeper
    private let id: LayerID
    private let origin: String?
    private let token: String

    /// Nil where the size cannot be kept.
    init?(_ keeper: ZFSSizeKeeper, _ id: LayerID, origin: String?) {
        guard let token = keeper.begin(id) else { return nil }
        self.keeper = keeper
        self.id = id
        self.origin = origin
        self.token = token
    }

    func finish(_ size: RecordedSize?) {
        guard let size, keeper.keepIfUnchanged(size, of: id, origin: origin, token: token) else {
            return keeper.drop(id)
        }
    }
}
