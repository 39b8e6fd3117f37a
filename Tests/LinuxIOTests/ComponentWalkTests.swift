import Glibc
import LayerModel
import TestSupport
import Testing

@testable import LinuxIO

/// What is done where the kernel refuses openat2(2), compared with what the kernel does where it does not.
@Suite struct ComponentWalkTests {
    private static let rules: [ResolveFlags] = [
        .beneath, .inRoot, [.beneath, .noSymlinks], [.inRoot, .noMagicLinks], [.beneath, .noSymlinks, .noCrossing],
        [.inRoot, .noCrossing],
    ]
    private static let flags: [OpenFlags] = [
        .readOnly, [.readOnly, .directory], [.readOnly, .noFollow], [.readOnly, .directory, .noFollow], .pathOnly,
        [.pathOnly, .noFollow], [.pathOnly, .directory],
    ]

    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func `random paths lead where the kernel goes`(seed: UInt64) throws {
        var random = SeededNumbers(seed: seed)
        let scratch = try TemporaryDirectory()
        var directories = [scratch.path]
        for index in 0..<12 {
            let made = try #require(directories.randomElement(using: &random)) + "/d\(index)"
            try #require(mkdir(made, 0o755) == 0)
            directories.append(made)
        }
        let mounted = directories[7]
        try #require(mount("none", mounted, "tmpfs", 0, nil) == 0)
        defer { umount2(mounted, Int32(MNT_DETACH)) }
        try #require(mkdir(mounted + "/below", 0o755) == 0)
        directories.append(mounted + "/below")
        // Names, and whole paths of what is there, so that many walks lead somewhere.
        let made = directories.dropFirst().map { String($0.dropFirst(scratch.path.utf8.count + 1)) }
        var names = ["..", ".", "missing", "", "file"] + directories.dropFirst().map(Self.lastName) + made + made
        for directory in directories { close(creat(directory + "/file", 0o644)) }
        for index in 0..<24 {
            let above = try #require(directories.randomElement(using: &random))
            let text = Self.path(of: names, &random)
            // An empty text cannot be made.
            guard symlink(text, above + "/l\(index)") == 0 else { continue }
            names.append(String((above + "/l\(index)").dropFirst(scratch.path.utf8.count + 1)))
        }
        symlink("loop", scratch.path + "/loop")
        names.append("loop")

        let root = try TestSupport.openPath(scratch.path)
        var found = 0
        for _ in 0..<4_000 {
            let path = Self.path(of: names, &random)
            let resolve = Self.rules.randomElement(using: &random) ?? .beneath
            let flags = Self.flags.randomElement(using: &random) ?? .readOnly
            let bytes = Array(path.utf8) + [0]
            let kernel = Self.outcome { () throws(SystemCallError) in
                try root.open(NamePointer(terminated: bytes.rawBytes), flags, resolve: resolve)
            }
            let own = Self.outcome { () throws(SystemCallError) in
                try ComponentWalk.open(
                    NamePointer(terminated: bytes.rawBytes), in: root, flags, resolve, mode: 0)
            }
            #expect(own == kernel, "\(path), flags \(flags.rawValue), resolve \(resolve.rawValue)")
            if kernel.hasPrefix("inode") { found += 1 }
        }
        // Neither everything nor nothing is found, or the paths would be no test.
        #expect(found > 400 && found < 3600, "\(found) found")
    }

    @Test func `a new file is made where the kernel would make it`() throws {
        let scratch = try TemporaryDirectory()
        mkdir(scratch.path + "/d", 0o755)
        symlink("/d", scratch.path + "/link")
        symlink("d/made", scratch.path + "/dangling")
        let root = try TestSupport.openPath(scratch.path)
        let flags: OpenFlags = [.writeOnly, .create, .exclusive]
        for (name, resolve) in [("link/a", ResolveFlags.inRoot), ("d/b", [.beneath, .noCrossing])] {
            let bytes = Array(name.utf8) + [0]
            _ = try ComponentWalk.open(
                NamePointer(terminated: bytes.rawBytes), in: root, flags, resolve, mode: 0o640)
            let made = Array("d/".utf8) + bytes.suffix(2)
            let metadata = try root.metadata(NamePointer(terminated: made.rawBytes))
            #expect(metadata.mode & 0o777 == 0o640)
        }
        let paths = try TreeSnapshot(scratch.path).paths
        #expect(paths == ["d/", "d/a", "d/b", "dangling", "link"])
    }

    @Test(arguments: [EPERM, ENOSYS]) func `without openat2 a removal stops at mounts, and nothing leads out`(
        errno: Int32
    ) async {
        await #expect(processExitsWith: .success) { [errno] in
            let scratch = try TemporaryDirectory()
            let outside = try scratch.directory("outside")
            close(creat(outside + "/kept", 0o600))
            try TreeCopyTests.makeTree(scratch.path + "/tree")
            symlink(outside, scratch.path + "/tree/out")
            let mounted = try scratch.directory("tree/mounted")
            try #require(mount("none", mounted, "tmpfs", 0, nil) == 0)
            defer { umount2(mounted, Int32(MNT_DETACH)) }
            close(creat(mounted + "/inside", 0o600))
            try denyCall(437, errno: errno)
            #expect(ComponentWalk.isNeeded)
            let root = try TestSupport.openPath(scratch.path)
            #expect(throws: SystemCallError("openat2", errno: EXDEV)) {
                _ = try root.open(NamePointer("tree/out/kept"), .readOnly, resolve: .beneath)
            }
            _ = try root.open(NamePointer("outside/../outside/kept"), .readOnly, resolve: .beneath)
            // A removal stops at the mount, and what is in it stays.
            #expect(throws: LayerError.self) { try TreeRemoval.remove(NamePointer("tree"), in: root) }
            #expect(access(mounted + "/inside", F_OK) == 0)
            try #require(umount2(mounted, 0) == 0)
            try TreeRemoval.remove(NamePointer("tree"), in: root)
            #expect(try TreeSnapshot(scratch.path).paths == ["outside/", "outside/kept"])
        }
    }

    @Test func `the kernel's own way is taken where there is one`() throws {
        #expect(!ComponentWalk.isNeeded)
    }

    private static func path(of names: [String], _ random: inout SeededNumbers) -> String {
        let count = Int.random(in: 1...3, using: &random)
        let start = Int.random(in: 0..<8, using: &random) == 0 ? "/" : ""
        return start + (0..<count).map { _ in names.randomElement(using: &random) ?? "." }.joined(separator: "/")
    }

    private static func lastName(_ path: String) -> String { String(path.split(separator: "/").last ?? "") }

    /// The file that was opened, or the errno.
    private static func outcome(_ open: () throws(SystemCallError) -> OwnedDescriptor) -> String {
        do throws(SystemCallError) {
            let metadata = try open().metadata()
            return "inode \(metadata.device) \(metadata.inode)"
        } catch { return "errno \(error.errno)" }
    }
}
