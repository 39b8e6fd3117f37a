import GRPCCore
import Glibc
import TestSupport
import Testing

@testable import ContainerdServices

/// Every call of the daemon to the file system of its root, SQLite's own among them, fails or is its last. Afterwards a daemon
/// without faults serves, what was answered is so, nothing half made is left, and what others keep there is as it was.
@Suite(.serialized) struct SnapshotFaultTests {
    /// Calls of an operation that are tried, each for itself; every one with LDIFF_EVERY_CALL.
    private static let points = 2

    @Test(arguments: DaemonOperation.all)
    func `any call fails, all calls fail, the daemon is killed at any`(_ operation: DaemonOperation) async throws {
        if let only = setting("LDIFF_OPERATION"), !operation.testDescription.contains(only) { return }
        let place = try TemporaryDirectory()
        defer { withExtendedLifetime(place) {} }
        try await FaultGround.run(in: place.path) { ground in
            var seen = Seen()
            for fault in CallWatch.Fault.allCases {
                try await Self.tryAll(fault, operation, ground, &seen)
            }
            #expect(seen.points > 1, "nothing was failed")
        }
    }

    @Test func `the daemon starts and ends on a file system that fails`() async throws {
        let place = try TemporaryDirectory()
        defer { withExtendedLifetime(place) {} }
        try await FaultGround.run(in: place.path) { ground in
            _ = try await ground.client.update("active", [:])
            let expected = try await ground.state()
            let copy = SnapshotDatabase.backup(of: ground.daemon.root + "/metadata/overlay2.db")
            try ground.daemon.stop()
            let records = try SnapshotSalvage.whole(copy).records.count
            try ground.daemon.start()
            for fault in CallWatch.Fault.allCases {
                for isStart in [true, false] {
                    var (call, calls) = (0, 0)
                    repeat {
                        let what = "\(isStart ? "start" : "end"), \(fault.rawValue), call \(call) of \(calls)"
                        // Something that the copy does not say, so that the end makes one.
                        try await ground.connected { _ = try await ground.client.update("active", [:]) }
                        let lasts = call % 2 == 1
                        do {
                            if isStart {
                                ground.daemon.kill()
                                try ground.daemon.start { $0.plan(fault, call: call, lasts: lasts) }
                            } else {
                                ground.daemon.watch?.plan(fault, call: call, lasts: lasts)
                                try ground.daemon.stop()
                            }
                        } catch {
                            // It says why and ends, and systemd starts it again.
                            #expect(call > 0, "\(what): \(error)")
                        }
                        let watch = try #require(ground.daemon.watch)
                        watch.rest()
                        if call == 0 { calls = watch.calls }
                        ground.daemon.kill()
                        // Of the last clean end or the one before, and whole.
                        #expect(try SnapshotSalvage.whole(copy).records.count == records, "\(what): \(watch.failed)")
                        try ground.daemon.start()
                        try await ground.connected {
                            #expect(try await ground.state() == expected, "\(what): \(watch.failed)")
                            try await ground.check(what + ": " + watch.failed)
                        }
                        let isEvery = setting("LDIFF_EVERY_CALL") != nil || fault == .unsynced
                        call += isEvery ? 1 : max(1, calls / 4)
                    } while call <= calls
                }
            }
        }
    }

    private struct Seen {
        var points = 0
    }

    private static func tryAll(
        _ fault: CallWatch.Fault, _ operation: DaemonOperation, _ ground: FaultGround, _ seen: inout Seen
    ) async throws {
        var calls = 0
        var after: Set<String> = []
        try await attempt(fault, 0, lasts: false, operation, ground, after: &after, calls: &calls)
        let isEvery = setting("LDIFF_EVERY_CALL") != nil || fault == .unsynced
        let step = isEvery ? 1 : max(1, calls / points)
        var call = Int(setting("LDIFF_CALL") ?? "") ?? 1 + step / 2
        while call <= calls {
            // Of many calls each fails in one of the two ways only, unless all are tried.
            let both = setting("LDIFF_EVERY_CALL") != nil || fault == .unsynced
            for lasts in fault == .kill ? [false] : both ? [false, true] : [seen.points % 2 == 1] {
                seen.points += 1
                try await attempt(fault, call, lasts: lasts, operation, ground, after: &after, calls: &calls)
            }
            call += step
        }
    }

    /// One try; call 0 only counts, and tells the state afterwards.
    private static func attempt(
        _ fault: CallWatch.Fault, _ call: Int, lasts: Bool, _ operation: DaemonOperation, _ ground: FaultGround,
        after: inout Set<String>, calls: inout Int
    ) async throws {
        var what =
            "\(operation.testDescription), \(fault.rawValue) \(lasts ? "from" : "at") call \(call) of \(calls)"
        var before: Set<String> = []
        var isDone = false
        var during: Set<String>?
        // One call, one kind of state: those before, those after, nothing else.
        try await ground.connected {
            try await operation.prepare(ground)
            before = try await ground.state()
            let watch = try #require(ground.daemon.watch)
            watch.plan(fault, call: call, lasts: lasts)
            do {
                try await operation.run(ground)
                isDone = true
            } catch let error as WrongAnswer {
                Issue.record("\(what): \(error.what)")
            } catch {
                what += ": \(error)".prefix(400)
            }
            // Directories that are made ahead.
            if call == 0 { try await Task.sleep(for: .milliseconds(100)) }
            watch.rest()
            if call == 0 { calls = watch.calls }
            what += " (\(watch.failed))"
            if fault != .kill || call == 0 { during = try await ground.state() }
        }
        if call == 0 {
            #expect(isDone, "\(what)")
            after = during ?? []
        }
        ground.daemon.kill()
        try ground.daemon.start()
        let expected = after
        try await ground.connected {
            do {
                let now = try await ground.state()
                for state in [during, now].compactMap({ $0 }) {
                    let strange = state.subtracting(before).subtracting(expected)
                    let missing = before.intersection(expected).subtracting(state)
                    let isWhole = operation.hasSteps || state == before || state == expected
                    #expect(isWhole && strange.isEmpty && missing.isEmpty, "\(what): \(state), before \(before)")
                    if isDone { #expect(state == expected, "\(what): what was answered is not so") }
                }
                try await ground.check(what)
            } catch {
                Issue.record("\(what): \(error); \(ground.daemon.log)")
            }
            try await ground.clear()
        }
    }
}

/// What the environment says.
private func setting(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
