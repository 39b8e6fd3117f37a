import DaemonSupport
import Dispatch
import Glibc
import LayerModel
import Synchronization
import TestSupport
import Testing

@testable import ContainerdServices

/// What a removal keeps waiting, and what of it is on disk when.
@Suite struct RemovalTests {
    private struct Rig {
        let place: TemporaryDirectory
        let backend = FakeBackend()
        let store: SnapshotStore
        let snapshotter: Snapshotter

        init(threads: Int = 2, _ options: SnapshotterOptions = SnapshotterOptions()) throws {
            place = try TemporaryDirectory()
            let bridge = BlockingBridge(shortThreads: threads)
            store = try SnapshotStore(
                path: place.path + "/records.db", taken: 0, bridge: bridge, believing: { _ in true }
            ) {}
            snapshotter = Snapshotter(backend, store, options, bridge)
        }

        func make(_ count: Int) async throws {
            for index in 0..<count {
                _ = try await snapshotter.create(.active, key: "old-\(index)", parent: "", labels: [:])
            }
        }

        /// The records that a start after a crash finds: a copy of the files as they are.
        func recorded() throws -> [String] {
            let copy = try TemporaryDirectory()
            for suffix in ["", "-wal"] {
                try writeFile(copy.path + "/records.db" + suffix, try readFile(place.path + "/records.db" + suffix))
            }
            let database = try SnapshotDatabase(path: copy.path + "/records.db") { _ in false }
            defer { database.close() }
            return try database.load().index.records.values.map(\.name).sorted()
        }
    }

    @Test(.timeLimit(.minutes(1))) func `trees that take long to remove keep no short call waiting`() async throws {
        var options = SnapshotterOptions()
        options.removesAtOnce = true
        let rig = try Rig(options)
        try await rig.make(8)
        let (gate, snapshotter) = (DispatchSemaphore(value: 0), rig.snapshotter)
        rig.backend.onDiscard.withLock { $0 = { gate.wait() } }
        try await withThrowingTaskGroup { group in
            for index in 0..<8 { group.addTask { try await snapshotter.remove(key: "old-\(index)") } }
            // More removals hang than there are threads for short calls, and still one is served.
            while !rig.store.index.records.isEmpty { try await Task.sleep(for: .milliseconds(1)) }
            _ = try await snapshotter.create(.active, key: "new", parent: "", labels: [:])
            #expect(rig.backend.discarded.withLock { $0 }.isEmpty)
            for _ in 0..<8 { gate.signal() }
            try await group.waitForAll()
        }
        #expect(rig.backend.discarded.withLock { $0.count } == 8)
        rig.store.close { Issue.record($0) }
    }

    @Test func `a removal that was answered survives a kill`() async throws {
        let rig = try Rig()
        try await rig.make(3)
        try await rig.snapshotter.remove(key: "old-1")
        #expect(try rig.recorded() == ["old-0", "old-2"])
        _ = try await rig.snapshotter.create(.active, key: "new", parent: "", labels: [:])
        try await rig.snapshotter.remove(key: "old-0")
        #expect(try rig.recorded() == ["new", "old-2"])
        rig.store.close { Issue.record($0) }
        #expect(try rig.recorded() == ["new", "old-2"])
    }

    @Test func `removals are synced together, before the first storage goes`() async throws {
        let rig = try Rig()
        try await rig.make(5)
        #expect(rig.store.hasUnsyncedRemovals, "of the process before")
        try await rig.snapshotter.cleanUp()
        for index in 0..<4 { try await rig.snapshotter.remove(key: "old-\(index)") }
        #expect(rig.store.hasUnsyncedRemovals)
        rig.backend.onDiscard.withLock { [store = rig.store] in $0 = { #expect(!store.hasUnsyncedRemovals) } }
        try await rig.snapshotter.cleanUp()
        #expect(rig.backend.discarded.withLock { $0.count } == 4)
        #expect(!rig.store.hasUnsyncedRemovals)
        rig.store.close { Issue.record($0) }
    }

    @Test func `nothing goes whose removal cannot be synced`() async throws {
        let rig = try Rig()
        try await rig.make(1)
        try await rig.snapshotter.remove(key: "old-0")
        let log = rig.place.path + "/records.db-wal"
        #expect(rename(log, log + ".away") == 0 && symlink("nowhere", log) == 0)
        await #expect(throws: LayerError.self) { try await rig.snapshotter.cleanUp() }
        #expect(rig.backend.discarded.withLock { $0.isEmpty })
        #expect(unlink(log) == 0 && rename(log + ".away", log) == 0)
        try await rig.snapshotter.cleanUp()
        #expect(rig.backend.discarded.withLock { $0.count } == 1)
        rig.store.close { Issue.record($0) }
    }
}
