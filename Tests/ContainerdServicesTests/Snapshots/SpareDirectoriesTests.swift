import Glibc
import LayerModel
import Synchronization
import TestSupport
import Testing

@testable import ContainerdServices

@Suite struct SpareDirectoriesTests {
    /// Those who take may hold every thread there is: then whoever was asked to make more never comes.
    @Test func `nobody waits for a thread that those who wait hold`() throws {
        let place = try TemporaryDirectory()
        let asked = Mutex(0)
        let directories = try SnapshotDirectories(PathBytes(place.path + "/store"))
        let spares = try SpareDirectories(directories) { _ in asked.withLock { $0 += 1 } }
        let ids = SnapshotIDs(highest: 0)
        var taken: Set<Int64> = []
        for _ in 0..<200 { #expect(taken.insert(try spares.take(ids)).inserted) }
        #expect(asked.withLock { $0 } > 0)
        #expect(Set(try directories.storedIDs()) == taken)
        for id in taken { #expect(access("\(place.path)/store/snapshots/\(id)/work", F_OK) == 0) }
    }

    @Test func `what was asked for twice is made once`() throws {
        let place = try TemporaryDirectory()
        let work = Mutex<[@Sendable () -> Void]>([])
        let directories = try SnapshotDirectories(PathBytes(place.path + "/store"))
        let spares = try SpareDirectories(directories) { body in work.withLock { $0.append(body) } }
        let ids = SnapshotIDs(highest: 0)
        while work.withLock({ $0.isEmpty }) { _ = try spares.take(ids) }
        let before = directoryNames(place.path + "/store/spare").count
        for body in work.withLock({ $0 + $0 }) { body() }
        let after = directoryNames(place.path + "/store/spare").count
        #expect(after > before && after - before <= SpareDirectories.most)
    }
}
