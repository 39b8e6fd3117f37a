import GRPCCore
import TestSupport
import Testing

/// What is refused, and with which code and text.
@Suite(.serialized) struct SnapshotErrorTests {
    typealias Call = @Sendable (SnapshotClient) async throws -> Void

    /// A store with `base` committed, `child` active on it, `view` a view of it, `free` active without a parent.
    static let table: [(name: String, code: RPCError.Code, call: Call)] = [
        ("prepare with a key that is active", .alreadyExists, { _ = try await $0.prepare("child") }),
        ("prepare with a committed name", .alreadyExists, { _ = try await $0.prepare("base") }),
        ("view with a key that is a view", .alreadyExists, { _ = try await $0.view("view", "base") }),
        ("prepare on nothing", .notFound, { _ = try await $0.prepare("x", "missing") }),
        ("view of nothing", .notFound, { _ = try await $0.view("x", "missing") }),
        ("prepare on an active snapshot", .invalidArgument, { _ = try await $0.prepare("x", "child") }),
        ("prepare on a view", .invalidArgument, { _ = try await $0.prepare("x", "view") }),
        ("prepare without a key", .invalidArgument, { _ = try await $0.prepare("") }),
        ("prepare with NUL in the key", .invalidArgument, { _ = try await $0.prepare("a\0b") }),
        (
            "prepare with a huge key", .invalidArgument,
            { _ = try await $0.prepare(String(repeating: "k", count: 40_000)) }
        ),
        (
            "prepare with a huge label", .invalidArgument,
            { _ = try await $0.prepare("x", labels: ["l": String(repeating: "v", count: 4096)]) }
        ),
        (
            "prepare with a bad map of ids", .invalidArgument,
            { _ = try await $0.prepare("x", labels: ["containerd.io/snapshot/uidmapping": "0:1"]) }
        ),
        (
            "prepare with a map that has no root", .invalidArgument,
            { _ = try await $0.prepare("x", labels: ["containerd.io/snapshot/gidmapping": "1:100000:65536"]) }
        ),
        ("mounts of nothing", .notFound, { _ = try await $0.mounts("missing") }),
        ("mounts of a committed one", .failedPrecondition, { _ = try await $0.mounts("base") }),
        ("commit of nothing", .notFound, { try await $0.commit("x", "missing") }),
        ("commit of a view", .failedPrecondition, { try await $0.commit("x", "view") }),
        ("commit of a committed one", .failedPrecondition, { try await $0.commit("x", "base") }),
        ("commit to a name that is there", .alreadyExists, { try await $0.commit("base", "child") }),
        ("commit without a name", .invalidArgument, { try await $0.commit("", "child") }),
        ("commit with another parent", .invalidArgument, { try await $0.commit("x", "child", parent: "view") }),
        ("commit with a missing late parent", .notFound, { try await $0.commit("x", "free", parent: "missing") }),
        (
            "commit with a late parent that is active", .failedPrecondition,
            { try await $0.commit("x", "free", parent: "child") }
        ),
        ("remove of nothing", .notFound, { try await $0.remove("missing") }),
        ("remove of a parent", .failedPrecondition, { try await $0.remove("base") }),
        ("stat of nothing", .notFound, { _ = try await $0.stat("missing") }),
        ("stat without a key", .notFound, { _ = try await $0.stat("") }),
        ("usage of nothing", .notFound, { _ = try await $0.usage("missing") }),
        ("update of nothing", .notFound, { _ = try await $0.update("missing", ["a": "b"]) }),
        ("update of the name", .invalidArgument, { _ = try await $0.update("base", [:], paths: ["name"]) }),
        ("update of the kind", .invalidArgument, { _ = try await $0.update("base", [:], paths: ["labels", "kind"]) }),
        (
            "update with a huge label", .invalidArgument,
            { _ = try await $0.update("base", ["l": String(repeating: "v", count: 5000)]) }
        ),
        ("list with a bad filter", .invalidArgument, { _ = try await $0.list("name==") }),
        ("list with one bad of two", .invalidArgument, { _ = try await $0.list("name==base", "==") }),
    ]

    @Test func `every refusal has its code, and a text that says what was done and ends with the class`() async throws {
        try await SnapshotterKind.overlay2.run { ground in
            let client = ground.client
            _ = try await client.prepare("base-key")
            try await client.commit("base", "base-key")
            _ = try await client.prepare("child", "base")
            _ = try await client.view("view", "base")
            _ = try await client.prepare("free")
            let before = try await client.list()
            let words: [RPCError.Code: String] = [
                .notFound: "not found", .alreadyExists: "already exists", .invalidArgument: "invalid argument",
                .failedPrecondition: "failed precondition",
            ]
            for (name, code, call) in Self.table {
                let refused = try await failure { try await call(client) }
                #expect(refused?.code == code, "\(name)")
                let message = refused?.message ?? ""
                #expect(message.hasSuffix(": " + (words[code] ?? "?")), "\(name): \(message)")
                #expect(message.hasPrefix("failed to ") || message.hasPrefix("parse filter"), "\(name): \(message)")
            }
            #expect(try await client.list() == before)
            // Nothing was left by what was refused.
            #expect(directoryNames(ground.daemon.root + "/overlay2/snapshots").count == 4)
        }
    }

    @Test func `an unknown snapshotter is the default driver, a driver that cannot work says why`() async throws {
        try await SnapshotterKind.overlay2.run { ground in
            var client = ground.client
            client.snapshotter = "whatever"
            _ = try await client.prepare("one")
            client.snapshotter = "ldiff"
            #expect(try await client.stat("one").kind == .active)
            client.snapshotter = "ldiff-overlay2"
            #expect(try await client.stat("one").kind == .active)
            client.snapshotter = "ldiff-fuse-overlayfs"
            #expect(try await client.list().isEmpty)
            client.snapshotter = "ldiff-aufs"
            #expect(try await client.list().isEmpty)
            let hasAUFS = try readText("/proc/filesystems").contains("\taufs")
            let refused = try await failure { try await client.prepare("two") }
            #expect(hasAUFS ? refused == nil : refused?.code == .unimplemented)
            #expect(hasAUFS || refused?.message.contains("AUFS was not found") == true)
        }
    }

    @Test func `a message of more than 16 MiB is refused, one of 15 is read, and the daemon goes on`() async throws {
        try await SnapshotterKind.overlay2.run { ground in
            let client = ground.client
            let large = try await failure { try await client.list(String(repeating: "x", count: 15 << 20) + "==y") }
            #expect(large == nil)
            let huge = try await failure { try await client.list(String(repeating: "x", count: 17 << 20) + "==y") }
            #expect(huge != nil)
            _ = try await client.prepare("after")
            #expect(try await client.stat("after").kind == .active)
        }
    }
}
