import Glibc
import LayerModel
import TestSupport
import Testing

@testable import LayerMounts

@Suite struct FuseOverlayServersTests {
    @Test(.timeLimit(.minutes(1)))
    func `what a live mount keeps reaches its directory, and a stranger's mount that hangs is not asked`() throws {
        let (own, other) = (try Scratch(), try Scratch())
        let (target, _) = try mountFuse(own)
        defer { try? KernelMount.unmount(target, [.detach, .noFollow]) }
        let (strange, process) = try mountFuse(other)
        defer { try? KernelMount.unmount(strange, [.detach, .noFollow]) }
        try #require(kill(process, SIGSTOP) == 0)
        defer { kill(process, SIGCONT) }
        let file = open(target.description + "/file", O_WRONLY | O_CREAT, 0o600)
        try #require(file >= 0 && write(file, "kept", 4) == 4)
        try FuseOverlayServers.flush(upper: PathBytes(own.text("u")))
        #expect(try readFile(own.text("u") + "/file") == Array("kept".utf8))
        close(file)
    }

    @Test(arguments: [
        ("lowerdir=/l,upperdir=/some/upper,workdir=/w", true), ("upperdir=/some/other", false),
        ("upperdir=/some/upper/below", false), ("lowerdir=/some/upper", false), ("upperdir=some/upper", true),
        ("upperdir=upper", true), ("upperdir=per", false), ("-oupperdir=/some/upper", true),
        ("lowerdir=/a\\,upperdir=/some/upper", false), ("upperdir=/some/\\upper", true), ("", false),
    ])
    func `a server's arguments tell what it writes to`(options: String, isIt: Bool) {
        let arguments = ["fuse-overlayfs", "-o", options, "/merged"].map { Array($0.utf8) }
        #expect(FuseOverlayServers.writes(arguments, to: PathBytes("/some/upper")) == isIt)
    }

    @Test func `another way to the same directory is found`() throws {
        let scratch = try Scratch()
        try scratch.directory("upper")
        symlink("upper", scratch.text("link"))
        let arguments = ["fuse-overlayfs", "-o", "upperdir=\(scratch.text("link"))", "/merged"].map { Array($0.utf8) }
        #expect(FuseOverlayServers.writes(arguments, to: PathBytes(scratch.text("upper"))))
    }
}
