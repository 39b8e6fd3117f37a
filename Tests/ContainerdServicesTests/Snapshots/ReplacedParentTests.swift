import DaemonSupport
import Dispatch
import LayerDrivers
import LayerModel
import LinuxIO
import Synchronization
import TestSupport
import Testing

@testable import ContainerdServices

/// A parent that is removed, and committed anew under its name, while the storage of its child is made.
@Suite struct ReplacedParentTests {
    private static func parent(_ id: Int64) -> SnapshotRecord {
        SnapshotRecord(
            id: id, name: "parent", kind: .committed, parent: nil, created: 1, updated: 1, labels: [:],
            isRebased: false)
    }

    @Test func `a child lies upon the parent that it is recorded with`() async throws {
        let place = try TemporaryDirectory()
        let (backend, bridge) = (FakeBackend(), BlockingBridge())
        let store = try SnapshotStore(
            path: place.path + "/records.db", taken: 10, bridge: bridge, believing: { _ in true }
        ) {}
        let snapshotter = Snapshotter(backend, store, SnapshotterOptions(), bridge)
        try await store.change { (edit) throws(ServiceFailure) in edit.put(Self.parent(1)) }
        backend.onCreate.withLock {
            $0 = {
                let isDone = DispatchSemaphore(value: 0)
                Task {
                    defer { isDone.signal() }
                    try await store.change { (edit) throws(ServiceFailure) in
                        edit.remove(1)
                        edit.put(Self.parent(2))
                    }
                }
                isDone.wait()
            }
        }
        let mounts = try await snapshotter.create(.active, key: "child", parent: "parent", labels: [:])
        #expect(mounts.map(\.source) == ["[2]"])
        let made = backend.made.withLock { $0 }
        #expect(made.map(\.parent) == [1, 2])
        #expect(backend.discarded.withLock { $0 } == [made[0].id])
        let record = try #require(store.index.record(named: "child"))
        #expect(record.parent == 2 && record.id == made[1].id)
        store.close { Issue.record($0) }
    }
}
