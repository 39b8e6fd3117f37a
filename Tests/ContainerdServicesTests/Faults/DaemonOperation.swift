import ContainerdAPI
import TestSupport
import Testing

/// One thing that containerd has the daemon do, and what it needs before.
struct DaemonOperation: Sendable, CustomTestStringConvertible {
    var testDescription: String
    /// Whether it is several calls, between which there are states of their own.
    var hasSteps = false
    /// Makes the state before, of names that begin with "new".
    var prepare: @Sendable (FaultGround) async throws -> Void = { _ in }
    /// What is failed. Checks what is answered, where it is.
    var run: @Sendable (FaultGround) async throws -> Void

    static let all: [DaemonOperation] = [
        DaemonOperation(testDescription: "prepare the first, with no spare directories") {
            _ = try await $0.client.prepare("new", "base")
        },
        DaemonOperation(testDescription: "prepare", prepare: { try await $0.warmUp() }) {
            let mounts = try await $0.client.prepare("new", "child", labels: ["a": "b"])
            try expect(mounts.first?.type == "overlay", "\(mounts)")
        },
        DaemonOperation(testDescription: "view", prepare: { try await $0.warmUp() }) {
            _ = try await $0.client.view("new", "child")
        },
        DaemonOperation(
            testDescription: "prepare many", hasSteps: true, prepare: { try await $0.warmUp() }
        ) { ground in
            for number in 0..<6 { _ = try await ground.client.prepare("new-\(number)") }
        },
        DaemonOperation(
            testDescription: "commit what was written",
            prepare: { ground in
                _ = try await ground.client.prepare("new-key", "base")
                try ground.write("new-key", "written")
            }
        ) {
            try await $0.client.commit("new", "new-key", labels: ["a": "b"])
        },
        DaemonOperation(
            testDescription: "commit nothing", prepare: { _ = try await $0.client.prepare("new-key", "child") }
        ) {
            try await $0.client.commit("new", "new-key")
        },
        DaemonOperation(
            testDescription: "remove, clean up", hasSteps: true,
            prepare: { ground in
                _ = try await ground.client.prepare("new", "child")
                try ground.write("new", "written")
            }
        ) {
            try await $0.client.remove("new")
            try await $0.client.cleanup()
        },
        DaemonOperation(testDescription: "update", prepare: { _ = try await $0.client.prepare("new") }) {
            _ = try await $0.client.update("new", ["c": "d"])
        },
        DaemonOperation(testDescription: "mounts, usage, stat, list") { ground in
            let mounts = try await ground.client.mounts("active")
            try expect(mounts.first?.type == "overlay", "\(mounts)")
            let usage = try await ground.client.usage("active")
            try expect(usage.inodes == 2, "\(usage)")
            let base = try await ground.client.stat("base")
            try expect(base.kind == .committed, "\(base)")
            let names = try await ground.client.list().keys.sorted()
            try expect(names == ["active", "base", "child"], "\(names)")
        },
        DaemonOperation(testDescription: "apply", prepare: { _ = try await $0.client.prepare("new-key", "base") }) {
            try await $0.apply("new-key")
        },
        DaemonOperation(
            testDescription: "apply, commit", hasSteps: true,
            prepare: { _ = try await $0.client.prepare("new-key", "base") }
        ) {
            try await $0.apply("new-key")
            try await $0.client.commit("new", "new-key")
        },
        DaemonOperation(testDescription: "diff", hasSteps: true) { ground in
            let digest = try await ground.diff("active", since: "child")
            try expect(ground.containerd.blob(digest).map { names($0.bytes) } == ["own"], "another layer: \(digest)")
        },
    ]

    /// Names of a layer's entries, the root's left out.
    private static func names(_ archive: [UInt8]) -> [String] {
        ((try? entries(archive)) ?? []).compactMap { $0.split(separator: " ").first.map(String.init) }
    }
}

/// Throws where what was answered is wrong.
func expect(_ condition: Bool, _ what: String) throws {
    guard condition else { throw WrongAnswer(what: what) }
}

/// An answer that says what is not so: never to be taken for a failure that was injected.
struct WrongAnswer: Error {
    var what: String
}
