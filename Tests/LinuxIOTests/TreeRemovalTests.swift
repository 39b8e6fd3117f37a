import Glibc
import LayerModel
import LinuxIO
import TestSupport
import Testing

@Suite struct TreeRemovalTests {
    /// Removes `name` below a directory.
    private static func remove(_ name: String, in parent: String, workers: Int? = nil) throws {
        var options = TreeRemovalOptions()
        options.workers = workers
        options.path = PathBytes(parent + "/" + name)
        let bytes = Array(name.utf8) + [0]
        try TreeRemoval.remove(
            NamePointer(terminated: bytes.rawBytes), in: TestSupport.openPath(parent), options: options)
    }

    @Test(arguments: [1, 2, 4]) func `a tree goes, and nothing else`(workers: Int) throws {
        let scratch = try TemporaryDirectory()
        try TreeCopyTests.makeTree(scratch.path + "/tree")
        let outside = try scratch.directory("outside")
        try TreeBuilder.make(outside) { try $0.file("kept", "k") }
        symlink(outside, scratch.path + "/tree/sub/link out")
        symlink("../outside", scratch.path + "/tree/link out")
        for index in 0..<200 {
            let directory = scratch.path + "/tree/d\(index)"
            mkdir(directory, 0o755)
            for name in ["a", "b", "c"] {
                mkdir(directory + "/" + name, 0o755)
                close(open(directory + "/" + name + "/file", O_WRONLY | O_CREAT, 0o600))
            }
        }
        try Self.remove("tree", in: scratch.path, workers: workers)
        #expect(try TreeSnapshot(scratch.path).paths == ["outside/", "outside/kept"])
        // What is gone counts as removed.
        try Self.remove("tree", in: scratch.path)
        // What is no directory goes too, and a link is not followed.
        symlink(outside, scratch.path + "/link")
        close(open(scratch.path + "/file", O_WRONLY | O_CREAT, 0o600))
        try Self.remove("link", in: scratch.path)
        try Self.remove("file", in: scratch.path)
        #expect(try TreeSnapshot(scratch.path).paths == ["outside/", "outside/kept"])
    }

    @Test func `a tree of ten thousand levels goes in time linear in its depth`() throws {
        let scratch = try TemporaryDirectory(in: "/dev/shm")
        var directory = try TestSupport.openPath(scratch.path)
        let long = Array(repeating: UInt8(ascii: "n"), count: 100) + [0]
        for level in 0..<10_000 {
            try directory.makeDirectory(NamePointer(terminated: long.rawBytes), mode: 0o755)
            if level % 100 == 0 {
                let side = Array("side".utf8) + [0]
                try directory.makeDirectory(NamePointer(terminated: side.rawBytes), mode: 0o755)
            }
            directory = try directory.open(NamePointer(terminated: long.rawBytes), [.readOnly, .directory])
        }
        let clock = ContinuousClock()
        let time = try clock.measure {
            try TreeRemoval.removeContents(of: TestSupport.openPath(scratch.path))
        }
        #expect(try TreeSnapshot(scratch.path).paths == [])
        // Opening each level by its path would take minutes.
        #expect(time < .seconds(20))
    }

    @Test(arguments: ["tmpfs", "bind", "file"]) func `a mount point is named and left alone`(kind: String) throws {
        let scratch = try TemporaryDirectory()
        let outside = try scratch.directory("outside")
        try TreeBuilder.make(outside) { try $0.file("kept", "k") }
        let tree = try scratch.directory("tree")
        try TreeBuilder.make(tree) { builder in
            try builder.directory("a")
            try builder.directory("a/point")
            try builder.file("a/point file", "")
            try builder.file("a/other", "o")
        }
        let point = tree + (kind == "file" ? "/a/point file" : "/a/point")
        switch kind {
        case "tmpfs":
            guard mount("tmpfs", point, "tmpfs", 0, nil) == 0 else { throw SystemCallError("mount", errno: errno) }
            close(open(point + "/inside", O_WRONLY | O_CREAT, 0o600))
        case "bind":
            guard mount(outside, point, "", UInt(MS_BIND), nil) == 0 else {
                throw SystemCallError("mount", errno: errno)
            }
        default:
            guard mount(outside + "/kept", point, "", UInt(MS_BIND), nil) == 0 else {
                throw SystemCallError("mount", errno: errno)
            }
        }
        defer { umount2(point, Int32(MNT_DETACH)) }
        #expect { try Self.remove("tree", in: scratch.path) } throws: { error in
            let error = error as? LayerError
            return error?.code == .inUse && error?.path == PathBytes(point)
        }
        if kind == "tmpfs" { #expect(access(point + "/inside", F_OK) == 0) }
        // The mount was found before anything was removed.
        #expect(access(tree + "/a/other", F_OK) == 0)
        // The caller unmounts and goes on.
        umount2(point, Int32(MNT_DETACH))
        try Self.remove("tree", in: scratch.path)
        #expect(try TreeSnapshot(scratch.path).paths == ["outside/", "outside/kept"])
        #expect(try readFile(outside + "/kept") == Array("k".utf8))
    }

    @Test(arguments: [1, 4]) func `without a mount table a removal stops where the mount lies`(workers: Int) async {
        await #expect(processExitsWith: .success) { [workers] in
            let scratch = try TemporaryDirectory()
            try TreeBuilder.make(scratch.path + "/tree") { tree in
                try tree.directory("a b")
                try tree.directory("a b/point")
                try tree.file("c")
            }
            let point = scratch.path + "/tree/a b/point"
            let mount = try Mount("tmpfs", at: point)
            close(open(point + "/inside", O_WRONLY | O_CREAT, 0o600))
            // Without readlinkat(2) nobody knows which paths of the table lie below the tree.
            #if arch(x86_64)
                try denyCall(267, errno: EPERM)
            #else
                try denyCall(78, errno: EPERM)
            #endif
            let error = #expect(throws: LayerError.self) {
                try TreeRemovalTests.remove("tree", in: scratch.path, workers: workers)
            }
            #expect(error?.code == .inUse && error?.path == PathBytes(point))
            #expect(error?.hint != nil)
            #expect(access(point + "/inside", F_OK) == 0)
            #expect(access(scratch.path + "/tree/c", F_OK) != 0)
            try mount.unmount()
        }
    }

    @Test func `one remover of many trees sees each new mount, and counts what it frees`() throws {
        let scratch = try TemporaryDirectory()
        let outside = try scratch.directory("outside")
        try TreeBuilder.make(outside) { try $0.file("kept", "k") }
        let root = try scratch.directory("root")
        let directory = try TestSupport.openPath(root)
        var options = TreeRemovalOptions()
        options.workers = 1
        var remover = TreeRemover(options: options)
        remover.watchMounts(below: directory)
        for round in 0..<3 {
            try TreeBuilder.make(root + "/tree") { tree in
                try tree.directory("d\\e")
                try tree.directory("d\\e/point")
                try tree.file("f", "four")
                try tree.link("d\\e/g", to: "f")
                try tree.file("d\\e/h", "three")
                try tree.file("shared", "elsewhere")
            }
            try #require(link(root + "/tree/shared", scratch.path + "/other \(round)") == 0)
            let point = root + "/tree/d\\e/point"
            if round == 1 {
                let mount = try Mount(binding: outside, at: point)
                let error = #expect(throws: LayerError.self) {
                    _ = try remover.remove(NamePointer("tree"), in: directory)
                }
                #expect(error?.code == .inUse && error?.path == PathBytes(point))
                // Another tree has nothing to do with it.
                try #require(mkdir(root + "/tree2", 0o700) == 0)
                _ = try remover.remove(NamePointer("tree2"), in: directory)
                #expect(access(root + "/tree/f", F_OK) == 0)
                try mount.unmount()
            }
            let report = try remover.remove(NamePointer("tree"), in: directory, countsBytes: true)
            #expect(report.removals == 7 && report.freedBytes == 9)
            #expect(access(root + "/tree", F_OK) != 0)
        }
        #expect(try readFile(outside + "/kept") == Array("k".utf8))
    }

    @Test func `a mount that lies hidden below another does not keep a tree`() throws {
        let scratch = try TemporaryDirectory()
        let outer = try scratch.directory("outer")
        try #require(mkdir(outer + "/tree", 0o700) == 0 && mkdir(outer + "/tree/point", 0o700) == 0)
        let hidden = try Mount("tmpfs", at: outer + "/tree/point")
        let above = try Mount("tmpfs", at: outer)
        try #require(mkdir(outer + "/tree", 0o700) == 0 && mkdir(outer + "/tree/point", 0o700) == 0)
        try Self.remove("tree", in: outer)
        #expect(access(outer + "/tree", F_OK) != 0)
        try above.unmount()
        try hidden.unmount()
    }

    @Test func `a removal that is cancelled in the middle of a directory ends`() throws {
        let scratch = try TemporaryDirectory(in: "/dev/shm")
        let tree = try scratch.directory("tree")
        for index in 0..<20_000 { close(creat(tree + "/\(index)", 0o600)) }
        var options = TreeRemovalOptions()
        options.workers = 1
        let cancel = options.cancel
        let canceller = try WorkerThread {
            while directoryNames(tree).count == 20_000 {}
            cancel.cancel()
        }
        var remover = TreeRemover(options: options)
        let error = #expect(throws: LayerError.self) {
            _ = try remover.remove(NamePointer("tree"), in: TestSupport.openPath(scratch.path))
        }
        canceller.join()
        #expect(error?.code == .cancelled)
        let left = directoryNames(tree).count
        #expect(left > 0 && left < 20_000)
    }

    @Test func `a user removes what his directories do not let him into`() async {
        await #expect(processExitsWith: .success) {
            let scratch = try TemporaryDirectory()
            try #require(chmod(scratch.path, 0o777) == 0 && seteuid(65_534) == 0)
            let user = uid_t(65_534)
            try TreeBuilder.make(scratch.path + "/tree") { tree in
                for name in ["none", "none/in", "read", "read/in", "search", "search/in"] {
                    try tree.directory(name, uid: user)
                }
                try tree.file("none/f", uid: user)
                try tree.file("read/in/f", uid: user)
                try tree.file("search/f", uid: user)
            }
            for (name, mode) in [("none", 0), ("read/in", 0o400), ("read", 0o400), ("search", 0o100)] {
                try #require(chmod(scratch.path + "/tree/" + name, mode_t(mode)) == 0)
            }
            try #require(chmod(scratch.path + "/tree", 0) == 0)
            try TreeRemovalTests.remove("tree", in: scratch.path, workers: 1)
            #expect(access(scratch.path + "/tree", F_OK) != 0)
            seteuid(0)
        }
    }

    @Test func `a mounted top is named too`() throws {
        let scratch = try TemporaryDirectory()
        let mount = try Mount("tmpfs", at: scratch.path + "/tree")
        close(open(mount.path + "/inside", O_WRONLY | O_CREAT, 0o600))
        #expect { try Self.remove("tree", in: scratch.path) } throws: { ($0 as? LayerError)?.code == .inUse }
        #expect(access(mount.path + "/inside", F_OK) == 0)
        try mount.unmount()
    }

    @Test func `contents go but for the name that is kept`() throws {
        let scratch = try TemporaryDirectory()
        try TreeBuilder.make(scratch.path) { tree in
            try tree.directory("lost+found")
            try tree.file("lost+found/f")
            try tree.directory("d")
            try tree.directory("d/lost+found")
        }
        var options = TreeRemovalOptions()
        options.keeps = "lost+found"
        #expect(try !TreeRemoval.isEmpty(TestSupport.openPath(scratch.path), ignoring: "lost+found"))
        try TreeRemoval.removeContents(of: TestSupport.openPath(scratch.path), options: options)
        #expect(try TreeSnapshot(scratch.path).paths == ["lost+found/", "lost+found/f"])
        #expect(try TreeRemoval.isEmpty(TestSupport.openPath(scratch.path), ignoring: "lost+found"))
        #expect(try !TreeRemoval.isEmpty(TestSupport.openPath(scratch.path)))
    }

    @Test func `directories that seem not to be empty are emptied once more`() async {
        // Every call fails once with ENOTEMPTY; only rmdir may say so, and then the second try counts.
        await #expect(processExitsWith: .success) {
            do { try TreeRemovalTests.failEveryCall(ENOTEMPTY, mustSucceed: 4) } catch { Issue.record("\(error)") }
        }
    }

    @Test(arguments: [EIO, ENOENT, EMFILE]) func `every failing call ends in an error, and the rest goes later`(
        _ code: Int32
    ) async {
        switch code {
        case EIO:
            await #expect(processExitsWith: .success) {
                do { try TreeRemovalTests.failEveryCall(EIO, mustSucceed: 0) } catch { Issue.record("\(error)") }
            }
        case ENOENT:
            await #expect(processExitsWith: .success) {
                do { try TreeRemovalTests.failEveryCall(ENOENT, mustSucceed: 0) } catch { Issue.record("\(error)") }
            }
        default:
            await #expect(processExitsWith: .success) {
                do { try TreeRemovalTests.failEveryCall(EMFILE, mustSucceed: 0) } catch { Issue.record("\(error)") }
            }
        }
    }

    static func failEveryCall(_ code: Int32, mustSucceed: Int) throws {
        let scratch = try TemporaryDirectory()
        for workers in [1, 2] {
            var (call, calls, successes) = (UInt64(0), UInt64(1), 0)
            while call <= calls {
                try TreeBuilder.make(scratch.path + "/tree") { tree in
                    try tree.directory("a")
                    try tree.file("a/f")
                    try tree.directory("a/b")
                    try tree.directory("a/b/c")
                    try tree.file("a/b/c/g")
                    try tree.fifo("p")
                }
                let before = try openFiles()
                let result = try removeTree(in: scratch.path, workers, call, code)
                if call == 0 { calls = result.calls }
                let place = "\(workers) workers, call \(call), errno \(code)"
                if let leak = try leak(since: before) { throw TestFailure("\(place): \(leak)") }
                switch result.outcome {
                case .success:
                    successes += 1
                    // A name that is said to be gone is believed, and found again when its directory must go.
                    guard code == ENOENT || access(scratch.path + "/tree", F_OK) != 0 else {
                        throw TestFailure("\(place): the tree is still there")
                    }
                case .failure(let error as LayerError):
                    guard case .systemCall(let failed) = error.cause, failed.errno == code else {
                        throw TestFailure("\(place): \(error)")
                    }
                case .failure(let error): throw error
                }
                try TreeRemoval.remove(NamePointer("tree"), in: TestSupport.openPath(scratch.path))
                guard access(scratch.path + "/tree", F_OK) != 0 else { throw TestFailure("\(place): it stayed") }
                call += 1
            }
            guard calls > 15, successes > mustSucceed else {
                throw TestFailure("\(calls) calls, \(successes) successes")
            }
        }
    }

    /// Removes `tree` with one call failing.
    private static func removeTree(in parent: String, _ workers: Int, _ call: UInt64, _ code: Int32) throws
        -> (outcome: Result<Void, any Error>, calls: UInt64)
    {
        let directory = try TestSupport.openPath(parent)
        var options = TreeRemovalOptions()
        options.workers = workers
        FaultPlan.fail(call: call, errno: code)
        let outcome = Result { try TreeRemoval.remove(NamePointer("tree"), in: directory, options: options) }
        let calls = FaultPlan.calls
        FaultPlan.fail(call: 0, errno: 0)
        return (outcome, calls)
    }
}
