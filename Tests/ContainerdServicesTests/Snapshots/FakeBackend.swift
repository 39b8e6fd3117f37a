import LayerDrivers
import LayerModel
import LinuxIO
import Synchronization

@testable import ContainerdServices

/// Keeps nothing, and tells what it was asked for.
final class FakeBackend: SnapshotBackend {
    let driver = DriverName.overlay2
    let dialect = WhiteoutDialect.overlay
    let made = Mutex<[(id: Int64, parent: Int64?)]>([])
    let discarded = Mutex<[Int64]>([])
    /// What the next one that is made waits for.
    let onCreate = Mutex<(@Sendable () -> Void)?>(nil)
    /// What each removal does first.
    let onDiscard = Mutex<(@Sendable () -> Void)?>(nil)

    func prepare() {}
    func create(_ snapshot: NewSnapshot, _ ids: SnapshotIDs, condemn: (Int64) throws(LayerError) -> Void) -> NewStorage
    {
        let id = ids.reserve()
        made.withLock { $0.append((id, snapshot.parent)) }
        onCreate.withLock { $0.take() }?()
        return NewStorage(id: id)
    }
    func discard(_ id: Int64) {
        let wait = onDiscard.withLock { $0 }
        wait?()
        discarded.withLock { $0.append(id) }
    }
    func measure(_ id: Int64, cancel: CancelFlag) -> SnapshotUsage { SnapshotUsage() }
    func storedIDs() -> [Int64] { made.withLock { $0.map(\.id) } }
    func sweep(_ id: Int64) -> Sweep { .lost }
    func holdsSnapshots(_ silence: SnapshotDatabase.Silence) -> Bool { false }
    func settle(_ index: SnapshotIndex) -> [String] { [] }
    func place(_ id: Int64) -> String { "\(id)" }
    func mounts(_ record: SnapshotRecord, ancestors: [Int64]) -> [MountSpec] {
        [MountSpec(type: "bind", source: "\(ancestors)", options: [])]
    }
    func contents(_ id: Int64) -> PathBytes? { nil }
    func candidate(_ mount: MountSpec) -> Int64? { nil }
}
