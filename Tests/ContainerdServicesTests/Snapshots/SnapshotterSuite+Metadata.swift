import Glibc
import Synchronization
import TestSupport
import Testing

/// The checks that look at records.
extension SnapshotterSuite {
    static func statActive(_ ground: SnapshotGround) async throws {
        let base = try await ground.layer("base") { try shell("printf 1 >f", in: $0) }
        let key = ground.path("active")
        _ = try await ground.client.prepare(key, base)
        let info = try await ground.client.stat(key)
        #expect([info.name, info.parent] == [key, base])
        #expect(info.kind == .active)
        #expect(info.labels == SnapshotClient.root)
    }

    static func statCommitted(_ ground: SnapshotGround) async throws {
        let base = try await ground.layer("base") { try shell("printf 1 >f", in: $0) }
        let top = try await ground.layer("top", on: base) { _ in }
        let info = try await ground.client.stat(top)
        #expect([info.name, info.parent] == [top, base])
        #expect(info.kind == .committed)
        #expect(info.createdAt == info.updatedAt)
    }

    static func transitivity(_ ground: SnapshotGround) async throws {
        let one = try await ground.layer("one") { try shell("printf 1 >f", in: $0) }
        let two = try await ground.layer("two", on: one) { try shell("printf 2 >g", in: $0) }
        let info = try await ground.client.stat(two)
        #expect(info.parent == one)
        #expect(try await ground.client.stat(info.parent).parent == "")
    }

    static func prepareViewFailing(_ ground: SnapshotGround) async throws {
        let client = ground.client
        let base = try await ground.layer("base") { _ in }
        _ = try await client.prepare("p1", base)
        #expect(try await failure { try await client.view("p1", base) }?.code == .alreadyExists)
        #expect(try await failure { try await client.prepare("p1", base) }?.code == .alreadyExists)
        _ = try await client.view("v1", base)
        #expect(try await failure { try await client.view("v1", base) }?.code == .alreadyExists)
        #expect(try await failure { try await client.prepare("v1", "") }?.code == .alreadyExists)
        #expect(try await failure { try await client.prepare(base, "") }?.code == .alreadyExists)
    }

    static func update(_ ground: SnapshotGround) async throws {
        let client = ground.client
        let before = now()
        _ = try await client.prepare("c1-key")
        try await client.commit("c1", "c1-key")
        _ = try await client.prepare("c2-key", "c1")
        try await client.commit("c2", "c2-key")
        _ = try await client.prepare("a1", "c2")
        _ = try await client.prepare("a2", "c2")
        _ = try await client.view("v1", "c2")
        _ = try await client.view("v2", "c1")
        let after = now()
        for name in ["c1", "c2", "a1", "a2", "v1", "v2"] {
            let made = try await client.stat(name)
            #expect((before...after).contains(made.createdAt.inNanoseconds))
            #expect(made.createdAt == made.updatedAt)

            let start = now()
            // The parent in the request is not looked at.
            var changed = try await client.update(
                name, ["l1": "v1", "l2": "v2", "l3": "v3"], parent: "doesnotexist")
            let end = now()
            #expect((start...end).contains(changed.updatedAt.inNanoseconds))
            var expected = made
            expected.labels = ["l1": "v1", "l2": "v2", "l3": "v3"]
            expected.updatedAt = changed.updatedAt
            #expect(changed == expected)
            #expect(try await client.stat(name) == changed)

            changed = try await client.update(
                name, ["l1": "updated", "l4": "unmentioned"], paths: ["labels.l1", "labels.l2"])
            #expect(changed.labels == ["l1": "updated", "l3": "v3"])
            #expect(changed.createdAt == made.createdAt)

            changed = try await client.update(name, ["l5": "only"], paths: ["labels"])
            #expect(changed.labels == ["l5": "only"])
            #expect(
                try await failure { try await client.update(name, [:], paths: ["parent"], parent: "c1") }?.code
                    == .invalidArgument)
            #expect(try await client.stat(name) == changed)
        }
    }

    private static func now() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    static func remove(_ ground: SnapshotGround) async throws {
        let client = ground.client
        _ = try await client.prepare("committed-key")
        try await client.commit("committed", "committed-key")
        _ = try await client.prepare("reuse", "committed")
        try await client.remove("reuse")
        _ = try await client.view("reuse", "committed")
        try await client.remove("reuse")
        _ = try await client.prepare("reuse", "")
        try await client.remove("committed")
        try await client.commit("committed", "reuse")
        #expect(try await client.stat("committed").parent == "")
    }

    static func walk(_ ground: SnapshotGround) async throws {
        let client = ground.client
        let mark = ["containerd.io/gc.root": "check-walk"]
        _ = try await client.prepare("p-key", labels: mark)
        try await client.commit("p", "p-key", labels: mark)
        _ = try await client.prepare("a", "p", labels: mark)
        _ = try await client.view("v", "p", labels: mark)
        _ = try await client.prepare("p-wl-key", "p", labels: mark)
        try await client.commit("p-wl", "p-wl-key", labels: mark.merging(["l": "1"]) { $1 })
        _ = try await client.prepare("a-wl", "p-wl", labels: mark.merging(["l": "2"]) { $1 })
        _ = try await client.view("v-wl", "p-wl", labels: mark.merging(["l": "3"]) { $1 })
        _ = try await client.prepare("p-key2")
        try await client.commit("other", "p-key2")

        let root = #"labels."containerd.io/gc.root"==check-walk"#
        let expected: [(filters: [String], names: [String])] = [
            ([root], ["p", "a", "v", "p-wl", "a-wl", "v-wl"]),
            (["kind==active," + root], ["a", "a-wl"]), (["kind==view," + root], ["v", "v-wl"]),
            (["kind==committed," + root], ["p", "p-wl"]), (["name==p"], ["p"]), (["name==a-wl,labels.l"], ["a-wl"]),
            (["parent==p"], ["a", "v", "p-wl"]), (["parent!=\"\"," + root], ["a", "v", "p-wl", "a-wl", "v-wl"]),
            (["parent==p-wl,labels.l==2"], ["a-wl"]), (["labels.l"], ["p-wl", "a-wl", "v-wl"]),
            (["labels.l==2"], ["a-wl"]), (["name==p", "name==v"], ["p", "v"]),
        ]
        for (filters, names) in expected {
            #expect(try await client.list(filters).keys.sorted() == names.sorted(), "\(filters)")
        }
    }

    static func removeIntermediateSnapshot(_ ground: SnapshotGround) async throws {
        let client = ground.client
        let base = try await ground.layer("base") { _ in }
        let middle = try await ground.layer("middle", on: base) { _ in }
        let key = ground.path("top-key")
        _ = try await client.prepare(key, middle)
        for name in [middle, base] {
            let refused = try await failure { try await client.remove(name) }
            #expect(refused?.code == .failedPrecondition)
            #expect(refused?.message.contains("remove") == true)
        }
        try await client.remove(key)
        try await client.remove(middle)
        try await client.remove(base)
        #expect(try await client.list().isEmpty)
    }

    static func statInWalk(_ ground: SnapshotGround) async throws {
        let client = ground.client
        _ = try await ground.layer("base") { _ in }
        for number in 0..<250 { _ = try await client.view("view-\(number)") }
        let counts = Mutex<[Int]>([])
        try await client.walk { infos async throws in
            counts.withLock { $0.append(infos.count) }
            // While the stream is open; and every tenth is enough.
            for info in infos where info.name.hasSuffix("0") || info.kind == .committed {
                #expect(try await client.stat(info.name) == info)
            }
        }
        #expect(counts.withLock { $0 } == [100, 100, 51])
    }

    /// There is no call to close; what ends is the connection, twice.
    static func closeTwice(_ ground: SnapshotGround) async throws {
        _ = try await ground.client.prepare("kept")
        for _ in 0..<2 {
            try await SnapshotClient.connected(to: ground.daemon.socket, named: ground.client.snapshotter) {
                client async throws in
                #expect(try await client.stat("kept").kind == .active)
            }
        }
        #expect(try await ground.client.stat("kept").kind == .active)
    }
}
