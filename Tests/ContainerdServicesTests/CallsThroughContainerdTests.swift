import ContainerdAPI
import GRPCCore
import TestSupport
import Testing

/// Real containerds that send everything over their one connection to the daemon.
@Suite(.serialized, .timeLimit(.minutes(3))) struct CallsThroughContainerdTests {
    /// 164 of 300 were answered, then 20, then none: the connection had ended under them.
    @Test(arguments: [ContainerdRelease.trixie, .sid])
    func `a thousand calls at once through containerd are all answered`(release: ContainerdRelease) async throws {
        let place = try TemporaryDirectory()
        defer { withExtendedLifetime(place) {} }
        let daemon = try SnapshotDaemon(in: place.directory("d"))
        let plugin = "[proxy_plugins.ldiff]\n  type = \"snapshot\"\n  address = \"\(daemon.socket)\"\n"
        let containerd = try ContainerdDaemon(in: place.directory("c"), release: release, settings: plugin)
        try containerd("snapshot", "--snapshotter", "ldiff", "prepare", "here")
        let (socket, metadata): (String, Metadata) = (
            containerd.socket, ["containerd-namespace": "\(containerd.namespace)"]
        )
        for count in [30, 100, 100] {
            // A client of NIO's has a hundred calls on its way at most.
            let answered = await withTaskGroup(of: Int.self) { group in
                for _ in 0..<10 {
                    group.addTask {
                        (try? await SnapshotClient.connected(to: socket) { client in
                            await Self.stats(count, client, metadata)
                        }) ?? 0
                    }
                }
                return await group.reduce(0, +)
            }
            #expect(answered == count * 10, "\(containerd.log)")
        }
        try daemon.stop()
        try containerd.stop()
    }

    /// How many of this many calls at once came back.
    private static func stats(_ count: Int, _ client: SnapshotClient, _ metadata: Metadata) async -> Int {
        await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<count {
                group.addTask {
                    let request = Containerd_Services_Snapshots_V1_StatSnapshotRequest.with {
                        $0.snapshotter = "ldiff"
                        $0.key = "here"
                    }
                    return (try? await client.service.stat(request, metadata: metadata)) != nil
                }
            }
            return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
    }
}
