import Glibc
import TestSupport
import Testing

@testable import ContainerdServices

/// `check --repair` is killed at any of its calls: what could be read before is there after another one.
@Suite(.serialized, .timeLimit(.minutes(5))) struct RepairKillTests {
    @Test func `a repair that is killed at any call loses no record`() async throws {
        let place = try TemporaryDirectory()
        let disk = try Mount("tmpfs", at: place.directory("root"), options: "size=64m")
        let daemon = try SnapshotDaemon(in: place.path)
        try await SnapshotClient.connected(to: daemon.socket) { client in
            for number in 1...2 { _ = try await client.prepare("early-\(number)") }
        }
        try daemon.stop()
        try daemon.start()
        let records = try await SnapshotClient.connected(to: daemon.socket) { client in
            for number in 1...5 {
                let source = try await client.prepare("later-\(number)")[0].source
                try writeFile(source + "/file", Array("precious".utf8))
            }
            return try await client.list()
        }
        daemon.kill()
        try Self.damageIndex(daemon.root + "/metadata/overlay2.db")
        try shell("cp -a root saved", in: place.path)
        let words = [SnapshotDaemon.program, "check", "--root", daemon.root]
        #expect(try runProgram(words).status == 65)
        var (call, calls) = (0, 0)
        repeat {
            try shell("rm -rf root/*; cp -a saved/. root", in: place.path)
            let repair = try Daemon(try CallWatch.prefix() + words + ["--repair"], log: place.path + "/repair.log")
            let watch = try CallWatch(repair.process, store: daemon.root)
            watch.plan(.kill, call: call, lasts: false)
            watch.go()
            for _ in 0..<3000 where repair.isRunning { usleep(10_000) }
            #expect(!repair.isRunning)
            if call == 0 { calls = watch.calls }
            let what = "call \(call) of \(calls): \(watch.failed)"
            if call % 8 < 2 { try await Self.expectNothingLess(daemon, records, what) }
            let again = try runProgram(words + ["--repair"])
            #expect(again.status == 0, "\(what): \(again.lines) \(again.errors)")
            let found = try SnapshotSalvage.whole(daemon.root + "/metadata/overlay2.db").records.values
            #expect(Set(found.map(\.name)) == Set(records.keys), "\(what)")
            #expect(directoryNames(daemon.root + "/overlay2/lost").isEmpty, "\(what)")
            #expect(try runProgram(words).lines == [], "\(what)")
            call += getenv("LDIFF_EVERY_CALL") == nil ? 2 : 1
        } while call <= calls
        #expect(calls > 10)
        try disk.unmount()
    }

    /// A daemon that is started between the two serves everything, or says that it cannot.
    private static func expectNothingLess(
        _ daemon: SnapshotDaemon, _ records: [String: Info], _ what: String
    ) async throws {
        try daemon.start()
        try await SnapshotClient.connected(to: daemon.socket) { client in
            do {
                let now = try await client.list()
                #expect(now == records, "\(what)")
            } catch {
                #expect("\(error)".contains("check --repair"), "\(what): \(error)")
            }
        }
        daemon.kill()
    }

    /// Takes a name out of the index of names; the records themselves stay whole.
    private static func damageIndex(_ path: String) throws {
        let database = try SnapshotDatabase(path: path) { _ in false }
        try database.settle()
        database.close()
        unlink(path + "-wal")
        var bytes = try readFile(path)
        let name = Array("later-3".utf8)
        var isDamaged = false
        // 10 begins a leaf of an index.
        for page in stride(from: 4096, to: bytes.count, by: 4096) where bytes[page] == 10 {
            for place in page..<(page + 4096 - name.count) where bytes[place..<(place + name.count)].elementsEqual(name)
            {
                bytes[place] = UInt8(ascii: "x")
                isDamaged = true
            }
        }
        try #require(isDamaged)
        try writeFile(path, bytes)
    }
}
