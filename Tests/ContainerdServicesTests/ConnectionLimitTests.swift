import ContainerdAPI
import Foundation
import GRPCCore
import TestSupport
import Testing

private typealias Frame = RawConnection.Frame

/// What one connection bears that all of containerd's calls share.
@Suite(.timeLimit(.minutes(2))) struct ConnectionLimitTests {
    private func run(_ body: (SnapshotDaemon) throws -> Void) throws {
        let place = try TemporaryDirectory()
        defer { withExtendedLifetime(place) {} }
        let daemon = try SnapshotDaemon(in: place.directory("d"))
        try body(daemon)
        try daemon.stop()
    }

    /// NIOHTTP2 allows for a hundred where nobody says another number, and ends the connection at the next.
    @Test func `a thousand calls at once are answered on one connection`() throws {
        try run { daemon in
            let connection = try RawConnection(daemon.socket)
            try connection.acknowledgeSettings()
            for call in 0..<1000 { try connection.begin("Stat", stream: call * 2 + 1) }
            for call in 0..<1000 { try connection.finishStat(stream: call * 2 + 1) }
            // NotFound
            #expect(try answers(connection, 1000) == ["5": 1000])
        }
    }

    @Test func `the number of calls and the length of metadata are announced`() throws {
        try run { daemon in
            let connection = try RawConnection(daemon.socket)
            var settings: [Int: Int] = [:]
            while settings[6] != 64 << 10, let frame = connection.next() {
                guard frame.type == Frame.settings else { continue }
                for start in stride(from: 0, to: frame.payload.count, by: 6) {
                    let number = { (range: Range<Int>) in range.reduce(0) { $0 << 8 | Int(frame.payload[start + $1]) } }
                    settings[number(0..<2)] = number(2..<6)
                }
            }
            #expect(settings[3] ?? 0 >= 1000)
            #expect(settings[6] == 64 << 10)
        }
    }

    /// 16 KiB is all that gRPC's transport asks for. A first call may come before the client has read what holds.
    @Test(arguments: [true, false])
    func `metadata of 40 KiB do not end the connection`(acknowledgesFirst: Bool) throws {
        try run { daemon in
            let connection = try RawConnection(daemon.socket)
            if acknowledgesFirst { try connection.acknowledgeSettings() }
            var metadata: [String: String] = [:]
            for index in 0..<10 { metadata["x-label-\(index)"] = String(repeating: "v", count: 4096) }
            try connection.begin("Stat", stream: 1, metadata)
            try connection.finishStat(stream: 1)
            try connection.begin("Stat", stream: 3)
            try connection.finishStat(stream: 3)
            if !acknowledgesFirst { try connection.acknowledgeSettings() }
            var statuses: [Int: String] = [:]
            while statuses.count < 2, let frame = connection.next(), frame.type != Frame.goAway {
                guard frame.type == Frame.headers else { continue }
                statuses[frame.stream] = try connection.headers(frame)["grpc-status"]
            }
            #expect(statuses == [1: "5", 3: "5"])
        }
    }

    /// Nor is one kept waiting for ever, or without bounds, that acknowledges nothing.
    @Test func `a client that never acknowledges is answered`() throws {
        try run { daemon in
            let quiet = try RawConnection(daemon.socket)
            try quiet.begin("Stat", stream: 1)
            try quiet.finishStat(stream: 1)
            let long = try RawConnection(daemon.socket)
            for call in 0..<90 {
                try long.begin("Stat", stream: call * 2 + 1, ["x-\(call)": String(repeating: "v", count: 15000)])
                try long.finishStat(stream: call * 2 + 1)
            }
            #expect(try answers(quiet, 1) == ["5": 1])
            #expect(try answers(long, 90) == ["5": 90])
        }
    }

    /// The statuses of so many calls.
    private func answers(_ connection: RawConnection, _ count: Int) throws -> [String: Int] {
        var statuses: [String: Int] = [:]
        while statuses.values.reduce(0, +) < count, let frame = connection.next(), frame.type != Frame.goAway {
            guard frame.type == Frame.headers else { continue }
            let headers = try connection.headers(frame)
            if frame.flags & Frame.endStream != 0 { statuses[headers["grpc-status"] ?? "none", default: 0] += 1 }
        }
        return statuses
    }

    @Test func `a message of 20 MiB is answered with ResourceExhausted`() throws {
        try run { daemon in
            let connection = try RawConnection(daemon.socket)
            try connection.begin("Stat", stream: 1)
            try connection.send(.data, stream: 1, [0, 1, 0x40])
            try connection.send(.data, stream: 1, [0, 0, 7, 7])
            try connection.begin("Stat", stream: 3)
            try connection.finishStat(stream: 3)
            var statuses: [Int: [String: String]] = [:]
            while statuses.count < 2, let frame = connection.next(), frame.type != Frame.goAway {
                guard frame.type == Frame.headers else { continue }
                let headers = try connection.headers(frame)
                if frame.flags & Frame.endStream != 0 { statuses[frame.stream] = headers }
            }
            #expect(statuses[1]?["grpc-status"] == "8")
            #expect(statuses[1]?["grpc-message"]?.contains("20971520") == true)
            #expect(statuses[3]?["grpc-status"] == "5")
        }
    }

    /// Clients before containerd 2.0 do not know `Aborted`.
    @Test func `of commits at once one succeeds and the others hear why not`() async throws {
        try await SnapshotterKind.overlay2.run { ground in
            let client = ground.client
            for round in 0..<10 {
                _ = try await client.prepare("key-\(round)")
                let codes = await withTaskGroup(of: RPCError.Code?.self) { group in
                    for index in 0..<8 {
                        let name = index % 2 == 0 ? "same-\(round)" : "other-\(round)-\(index)"
                        group.addTask {
                            do {
                                try await client.commit(name, "key-\(round)")
                                return nil
                            } catch {
                                return (error as? RPCError)?.code ?? .unknown
                            }
                        }
                    }
                    return await group.reduce(into: []) { $0.append($1) }
                }
                #expect(codes.count { $0 == nil } == 1)
                #expect(codes.allSatisfy { $0 == nil || $0 == .notFound || $0 == .alreadyExists }, "\(codes)")
            }
        }
    }

    /// Each of these ran on after its caller was gone, until no thread was left for anybody else.
    @Test func `expressions of any kind leave room for other calls`() async throws {
        try await SnapshotterKind.overlay2.run { ground in
            let client = ground.client
            let label = String(repeating: "a", count: 3000) + "!"
            for index in 0..<5 { _ = try await client.prepare("key-\(index)", labels: ["l": label]) }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<30 {
                    group.addTask { _ = try? await client.list(["labels.l~=\"(a+)+$\""]) }
                }
                try await Task.sleep(for: .milliseconds(50))
                let start = ContinuousClock.now
                _ = try await client.prepare("other")
                #expect(ContinuousClock.now - start < .seconds(5))
                group.cancelAll()
            }
        }
    }
}
