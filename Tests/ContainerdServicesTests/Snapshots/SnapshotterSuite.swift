import GRPCCore
import Glibc
import TestSupport
import Testing

/// The checks of containerd's suite for snapshotters, with its names, as clients of the socket.
enum SnapshotterSuite {
    typealias Check = @Sendable (SnapshotGround) async throws -> Void

    /// In the suite's order.
    static let all: [(name: String, check: Check)] = [
        ("Basic", basic), ("StatActive", statActive), ("StatComitted", statCommitted),
        ("TransitivityTest", transitivity), ("PreareViewFailingtest", prepareViewFailing), ("Update", update),
        ("Remove", remove), ("Walk", walk), ("LayerFileupdate", layerFileUpdate),
        ("RemoveDirectoryInLowerLayer", removeDirectoryInLowerLayer), ("Chown", chown),
        ("DirectoryPermissionOnCommit", directoryPermissionOnCommit),
        ("RemoveIntermediateSnapshot", removeIntermediateSnapshot),
        ("DeletedFilesInChildSnapshot", deletedFilesInChildSnapshot),
        ("MoveFileFromLowerLayer", moveFileFromLowerLayer), ("Rename", rename), ("ViewReadonly", viewReadonly),
        ("StatInWalk", statInWalk), ("CloseTwice", closeTwice), ("RootPermission", rootPermission),
        ("128LayersMount", manyLayers),
    ]

    static let names = all.map(\.name)

    static func run(_ name: String, _ kind: SnapshotterKind) async throws {
        guard let check = all.first(where: { $0.name == name })?.check else { throw TestFailure("no check \(name)") }
        try await kind.run { ground in try await check(ground) }
    }
}

// MARK: trees

extension SnapshotterSuite {
    private static func basic(_ ground: SnapshotGround) async throws {
        let client = ground.client
        let flat = ground.path("flat")
        mkdir(flat, 0o755)
        let first = """
            printf 1 >f; chmod 0777 f; mkdir -p a/b; printf 2 >a/b/f; chmod 0711 a; mkdir c; ln f c/hard; ln -s f l
            """
        let key = ground.path("base-key")
        let mounts = try await client.prepare(key)
        #expect(!mounts.isEmpty)
        let mounted = try MountedSnapshot(mounts, at: key)
        try shell(first, in: mounted.path)
        try shell(first, in: flat)
        try mounted.unmount()
        let base = ground.path("base")
        try await client.commit(base, key)
        let info = try await client.stat(base)
        #expect(info.parent == "")
        #expect(info.kind == .committed)
        #expect(try await failure { try await client.stat(key) }?.code == .notFound)

        let next = ground.path("next-key")
        let nextMounted = try MountedSnapshot(try await client.prepare(next, base), at: next)
        #expect(
            try TreeSnapshot(next, ignoring: ground.kind.blind)
                .differences(from: TreeSnapshot(flat, ignoring: ground.kind.blind)) == [])
        // A file with two names is not written to: overlays part the names, by design.
        let second = "rm f; printf 22 >f; rm -r a/b; mkdir d; printf 3 >d/f; chmod 0751 d"
        try shell(second, in: next)
        try shell(second, in: flat)
        try nextMounted.unmount()
        let top = ground.path("top")
        try await client.commit(top, next)
        let topInfo = try await client.stat(top)
        #expect(topInfo.parent == base)
        #expect(try await failure { try await client.stat(next) }?.code == .notFound)
        #expect(try await client.list() == [base: info, top: topInfo])

        let view = ground.path("view")
        let viewed = try MountedSnapshot(try await client.view(view, top), at: view)
        #expect(
            try TreeSnapshot(view, ignoring: ground.kind.blind)
                .differences(from: TreeSnapshot(flat, ignoring: ground.kind.blind)) == [])
        try viewed.unmount()
        try await client.remove(view)
        let refused = try await failure { try await client.remove(base) }
        #expect(refused?.code == .failedPrecondition)
        #expect(refused?.message.contains("remove") == true)
        try await client.remove(top)
        try await client.remove(base)
        #expect(try await client.list().isEmpty)
    }

    private static func layerFileUpdate(_ ground: SnapshotGround) async throws {
        var parent = ""
        for round in 1...5 {
            // Within one second, so that only contents differ.
            parent = try await ground.layer("update-\(round)", on: parent) { path in
                try shell(
                    "printf 'content %d' \(round) >foo; touch -d @1700000000 foo; mkdir -p d; printf \(round) >d/bar",
                    in: path)
            }
            let tree = try await ground.tree(of: parent)
            #expect(tree["foo"]?.text == "content \(round)")
            #expect(tree["d/bar"]?.text == "\(round)")
        }
    }

    private static func removeDirectoryInLowerLayer(_ ground: SnapshotGround) async throws {
        let one = try await ground.layer("one") { try shell("mkdir d1; printf 1 >d1/f1; printf 2 >d1/f2", in: $0) }
        let two = try await ground.layer("two", on: one) { try shell("rm -r d1", in: $0) }
        let three = try await ground.layer("three", on: two) { try shell("mkdir d1; printf 3 >d1/f3", in: $0) }
        #expect(try await ground.tree(of: two).paths == [])
        #expect(try await ground.tree(of: three).paths.sorted() == ["d1/", "d1/f3"])
        // The same within one layer.
        let four = try await ground.layer("four", on: one) {
            try shell("rm -r d1; mkdir d1; printf 4 >d1/f4", in: $0)
        }
        #expect(try await ground.tree(of: four).paths.sorted() == ["d1/", "d1/f4"])
    }

    private static func chown(_ ground: SnapshotGround) async throws {
        let one = try await ground.layer("one") {
            try shell("mkdir -p opt a/b/c; printf 1 >opt/f; chown 1:1 opt opt/f a a/b a/b/c", in: $0)
        }
        let two = try await ground.layer("two", on: one) {
            try shell("chown 2:3 opt; chown 4:5 opt/f; chown 6:7 a/b", in: $0)
        }
        let tree = try await ground.tree(of: two)
        let owners = ["opt", "opt/f", "a", "a/b", "a/b/c"].map { [tree[$0]?.uid, tree[$0]?.gid] }
        #expect(owners == [[2, 3], [4, 5], [1, 1], [6, 7], [1, 1]])
    }

    private static func directoryPermissionOnCommit(_ ground: SnapshotGround) async throws {
        let one = try await ground.layer("one") {
            try shell(
                """
                for n in 1 2 3 4 5; do mkdir dir$n; chown $n:$n dir$n; done
                chmod 0700 dir1; chmod 0750 dir2; chmod 01777 dir3
                """, in: $0)
        }
        let two = try await ground.layer("two", on: one) {
            try shell("printf 1 >dir1/f; chmod 0711 dir2; chown 7:7 dir4; printf 1 >dir4/f; chown 8:9 dir5", in: $0)
        }
        let tree = try await ground.tree(of: two)
        let facts = (1...5).map { number in
            let entry = tree["dir\(number)"]
            return [entry?.uid, entry?.gid, entry.map { $0.mode & 0o7777 }]
        }
        #expect(
            facts == [[1, 1, 0o700], [2, 2, 0o711], [3, 3, 0o1777], [7, 7, 0o755 | 0o22], [8, 9, 0o755 | 0o22]])
    }

    private static func deletedFilesInChildSnapshot(_ ground: SnapshotGround) async throws {
        let one = try await ground.layer("one") { try shell("printf 1 >foo; printf 2 >foobar", in: $0) }
        let two = try await ground.layer("two", on: one) { try shell("rm foobar", in: $0) }
        let three = try await ground.layer("three", on: two) { _ in }
        #expect(try await ground.tree(of: two).paths == ["foo"])
        #expect(try await ground.tree(of: three).paths == ["foo"])
    }

    private static func moveFileFromLowerLayer(_ ground: SnapshotGround) async throws {
        let one = try await ground.layer("one") {
            try shell("mkdir dir1; printf 1 >dir1/f1; printf 2 >dir1/f2", in: $0)
        }
        let two = try await ground.layer("two", on: one) {
            try shell("ln dir1/f1 dir1/f3; rm dir1/f1; mkdir dir2; mv dir1/f2 dir2/f2", in: $0)
        }
        let tree = try await ground.tree(of: two)
        #expect(tree.paths.sorted() == ["dir1/", "dir1/f3", "dir2/", "dir2/f2"])
        #expect([tree["dir1/f3"]?.text, tree["dir2/f2"]?.text] == ["1", "2"])
    }

    /// Overlays without redirects refuse to rename a directory of a lower layer, and whoever does it copies (EXDEV); the suite
    /// of containerd asks it of others only.
    private static func rename(_ ground: SnapshotGround) async throws {
        let one = try await ground.layer("one") {
            try shell("mkdir -p dir1/sub; printf 1 >dir1/f; printf 2 >dir1/sub/f", in: $0)
        }
        let two = try await ground.layer("two", on: one) { path in
            if ground.kind == .zfs {
                guard Glibc.rename(path + "/dir1", path + "/dir2") == 0 else { throw TestFailure("rename: \(errno)") }
            } else {
                try shell("mv dir1 dir2", in: path)
            }
            try shell("printf 3 >dir2/new; mkdir fresh; printf 4 >fresh/f; mv fresh fresh2", in: path)
        }
        let paths = ["dir2/", "dir2/f", "dir2/new", "dir2/sub/", "dir2/sub/f", "fresh2/", "fresh2/f"]
        #expect(try await ground.tree(of: two).paths.sorted() == paths)
    }

    private static func viewReadonly(_ ground: SnapshotGround) async throws {
        let one = try await ground.layer("one") { try shell("printf 1 >f", in: $0) }
        let two = try await ground.layer("two", on: one) { try shell("printf 2 >g", in: $0) }
        for (name, parent) in [("view1", one), ("view2", two), ("view0", "")] {
            let key = ground.path(name)
            let mounted = try MountedSnapshot(try await ground.client.view(key, parent), at: key)
            let descriptor = open(key + "/new", O_CREAT | O_WRONLY, 0o644)
            let problem = errno
            #expect(descriptor < 0)
            #expect(problem == EROFS)
            if descriptor >= 0 { close(descriptor) }
            try mounted.unmount()
        }
    }

    private static func rootPermission(_ ground: SnapshotGround) async throws {
        let key = ground.path("root")
        let mounted = try MountedSnapshot(try await ground.client.prepare(key), at: key)
        var status = stat()
        #expect(stat(key, &status) == 0)
        #expect(status.st_mode == S_IFDIR | 0o755)
        #expect([status.st_uid, status.st_gid] == [0, 0])
        try mounted.unmount()
    }

    private static func manyLayers(_ ground: SnapshotGround) async throws {
        let flat = ground.path("flat")
        mkdir(flat, 0o755)
        var parent = ""
        for number in 1...128 {
            let key = ground.path("l\(number)-key")
            let mounted = try MountedSnapshot(try await ground.client.prepare(key, parent), at: key)
            let blind = ground.kind.blind
            #expect(try TreeSnapshot(key, ignoring: blind).differences(from: TreeSnapshot(flat, ignoring: blind)) == [])
            let change = """
                printf \(number) >top; mkdir -p d\(number % 7); printf 'layer \(number)' >d\(number % 7)/f\(number)
                rm -f d\((number + 3) % 7)/f\(number - 4); \(number % 16 == 0 ? "rm -rf d1; mkdir d1" : ":")
                """
            try shell(change, in: key)
            try shell(change, in: flat)
            #expect(try TreeSnapshot(key, ignoring: blind).differences(from: TreeSnapshot(flat, ignoring: blind)) == [])
            try mounted.unmount()
            parent = ground.path("l\(number)")
            try await ground.client.commit(parent, key)
        }
        let tree = try await ground.tree(of: parent)
        #expect(tree.differences(from: try TreeSnapshot(flat, ignoring: ground.kind.blind)) == [])
    }
}
