import ContainerdAPI
import Glibc
import TestSupport
import Testing

/// What one test of the suite has: a daemon of its own, a client, and a directory to mount in.
struct SnapshotGround {
    let client: SnapshotClient
    let daemon: SnapshotDaemon
    /// What the suite is told the snapshotter's name is.
    let kind: SnapshotterKind
    private let work: String

    init(_ client: SnapshotClient, _ daemon: SnapshotDaemon, _ kind: SnapshotterKind) {
        self.client = client
        self.daemon = daemon
        self.kind = kind
        work = daemon.directory + "/work"
        mkdir(work, 0o755)
    }

    /// An absolute path that is a key and a place to mount at, as the suite of containerd uses them.
    func path(_ name: String) -> String { work + "/" + name }

    /// Prepares, lets `body` change the tree, commits; returns the committed name.
    @discardableResult
    func layer(_ name: String, on parent: String = "", _ body: (String) throws -> Void) async throws -> String {
        let key = path(name + "-key")
        let mounted = try MountedSnapshot(try await client.prepare(key, parent), at: key)
        try body(mounted.path)
        try mounted.unmount()
        try await client.commit(path(name), key)
        return path(name)
    }

    /// The tree that a view of a committed snapshot shows.
    func tree(of name: String) async throws -> TreeSnapshot {
        let key = path("view-of-" + (name.split(separator: "/").last.map(String.init) ?? ""))
        let mounted = try MountedSnapshot(try await client.view(key, name), at: key)
        let tree = try TreeSnapshot(mounted.path, ignoring: kind.blind)
        try mounted.unmount()
        try await client.remove(key)
        return tree
    }
}

/// The snapshotters that the suite runs with.
enum SnapshotterKind: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case overlay2
    case fuseOverlayFS = "fuse-overlayfs"
    case zfs
    case erofs
    /// Every layer is packed that can be, those of containers too.
    case erofsPacked = "erofs-packed"

    var testDescription: String { rawValue }

    /// The word in the snapshotter's name.
    var driver: String { self == .erofsPacked ? "erofs" : rawValue }

    var settings: String { self == .erofsPacked ? "[erofs]\nform = \"packed\"\npack_on_commit = true\n" : "" }

    /// What comparing two trees leaves out.
    var blind: TreeSnapshot.Ignored { [.root, .times, .overlayAttributes, .linkGroups] }

    /// Runs `body` with a daemon, which must end cleanly and leave no mount.
    func run(
        settings: String = "", _ body: (SnapshotGround) async throws -> Void
    ) async throws {
        guard geteuid() == 0 else { throw TestFailure("root is needed to mount") }
        let pool = self == .zfs ? try SnapshotPool.dataset() : nil
        let daemon = try SnapshotDaemon(
            driver: "overlay2",
            settings: settings + self.settings + (pool.map { "\n[zfs]\ndataset = \"\($0.name)\"\n" } ?? ""))
        try await SnapshotClient.connected(to: daemon.socket, named: "ldiff-" + driver) { client in
            do {
                try await body(SnapshotGround(client, daemon, self))
            } catch {
                throw TestFailure("\(error)\n\(daemon.log)")
            }
        }
        try daemon.stop()
        try daemon.unmountLayers()
        let left = try Leftovers.mounts(below: daemon.directory)
        guard left.isEmpty else { throw TestFailure("mounts were left: \(left)") }
        if let pool { try pool.destroy() }
    }
}

/// Runs a script in a directory; it must succeed.
func shell(_ script: String, in directory: String) throws {
    let result = try runProgram(["/bin/bash", "-euc", "umask 0; cd \"$1\"; " + script, "bash", directory])
    guard result.status == 0 else { throw TestFailure("in \(directory): \(script): \(result.errors)") }
}
