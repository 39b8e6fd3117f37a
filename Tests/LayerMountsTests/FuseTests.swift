import Glibc
import LayerModel
import LayerMounts
import Testing

private let fuse = FileSystemKind.fuse.magic

/// A real fuse-overlayfs at `merged`; its process id.
func mountFuse(_ scratch: Scratch) throws -> (target: PathBytes, process: Int32) {
    for name in ["l", "u", "w"] { try scratch.directory(name) }
    let target = try scratch.directory("merged")
    let data = "lowerdir=\(scratch.text("l")),upperdir=\(scratch.text("u")),workdir=\(scratch.text("w"))"
    try run("fuse-overlayfs", ["-o", data, target.description])
    let found = text(try run("pgrep", ["-f", "fuse-overlayfs.*\(target)"]).standardOutput)
    let process = try #require(found.split(separator: "\n").first.flatMap { Int32($0) })
    return (target, process)
}

@Suite struct FuseTests {
    @Test func `a helper that goes on in the background is started and not waited for`() throws {
        let scratch = try Scratch()
        let clock = ContinuousClock()
        var mounted: (target: PathBytes, process: Int32)?
        let time = try clock.measure { mounted = try mountFuse(scratch) }
        #expect(time < .seconds(10))
        let target = try #require(mounted).target
        #expect(try MountTable.state(of: target, magic: fuse) == .mounted)
        #expect(try MountTable.read().top(at: target)?.fileSystem == "fuse.fuse-overlayfs")
        try KernelMount.unmount(target)
        #expect(try MountTable.state(of: target, magic: fuse) == .notMounted)
    }

    @Test func `K11 a helper that was killed leaves a stale mount, which is replaced`() throws {
        let scratch = try Scratch()
        let (target, process) = try mountFuse(scratch)
        kill(process, SIGKILL)
        let references = MountReferences(.fileSystem(magic: fuse))
        var state = MountState.mounted
        for _ in 0..<500 where state != .stale {
            state = try MountTable.state(of: target, magic: fuse)
            usleep(10_000)
        }
        #expect(state == .stale)
        #expect(try MountTable.state(of: target) == .stale)
        #expect(try MountTable.isMountPoint(target), "openat2 tells it without asking the dead helper")
        #expect(try references.acquire(target) == .mustReplace)
        try KernelMount.unmount(target, [.detach, .noFollow])
        #expect(try MountTable.state(of: target, magic: fuse) == .notMounted)
    }

    @Test func `K11 a home on FUSE does not make every path look mounted`() throws {
        let scratch = try Scratch()
        let (target, _) = try mountFuse(scratch)
        let inside = try scratch.directory("merged/inside")
        #expect(try MountTable.state(of: inside, magic: fuse) == .notMounted)
        #expect(try MountReferences(.fileSystem(magic: fuse)).acquire(inside) == .mustMount)
        try KernelMount.unmount(target)
    }
}
