import Glibc
import LayerModel
import LayerMounts
import TestSupport
import Testing

private func entries(_ text: String) -> [MountEntry]? { MountTable(parsing: Array(text.utf8))?.entries }

@Suite struct MountTableTests {
    @Test func `a line has all its fields`() throws {
        let line =
            "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n"
        let entry = try #require(entries(line)?.first)
        #expect(entry.id == 36 && entry.parent == 35 && entry.major == 98 && entry.minor == 0)
        #expect(entry.root == PathBytes("/mnt1") && entry.mountPoint == PathBytes("/mnt2"))
        #expect(entry.options == PathBytes("rw,noatime") && entry.superOptions == PathBytes("rw,errors=continue"))
        #expect(entry.fileSystem == "ext3" && entry.source == PathBytes("/dev/root"))
    }

    @Test(arguments: [
        (#"1 0 0:1 / /a\040b rw - tmpfs none rw"#, "/a b"),
        (#"1 0 0:1 / /t\011n\012b\134h\043 rw - tmpfs none rw"#, "/t\tn\nb\\h#"),
        (#"1 0 0:1 / /odd\9 rw - tmpfs none rw"#, #"/odd\9"#),
        (#"1 0 0:1 / /end\04 rw - tmpfs none rw"#, #"/end\04"#),
        (#"1 0 0:1 / /- rw - tmpfs none rw"#, "/-"),
    ])
    func `escapes are undone`(line: String, mountPoint: String) {
        #expect(entries(line)?.first?.mountPoint == PathBytes(mountPoint))
    }

    @Test func `empty sources, types with subtypes, bytes that are no text`() throws {
        let none = try #require(
            entries("9 1 0:5 / /x rw -  fuse.fuse-overlayfs  rw\n")
                ?? entries("9 1 0:5 / /x rw - fuse.fuse-overlayfs  rw\n"))
        #expect(none.count == 1)
        let fuse = try #require(entries("9 1 0:5 / /x rw - fuse.fuse-overlayfs  rw\n")?.first)
        #expect(
            fuse.fileSystem == "fuse.fuse-overlayfs" && fuse.source == PathBytes("")
                && fuse.superOptions == PathBytes("rw"))
        let bytes = Array("9 1 0:5 / /".utf8) + [0xff, 0xfe] + Array(" rw - tmpfs t rw\n".utf8)
        #expect(MountTable(parsing: bytes)?.entries.first?.mountPoint.bytes == [0x2f, 0xff, 0xfe])
    }

    @Test(arguments: [
        "x 0 0:1 / /a rw - tmpfs none rw", "1 0 0 / /a rw - tmpfs none rw", "1 0 0:1 / /a rw",
        "1 0 0:1 / /a rw tmpfs none rw",
    ])
    func `malformed lines are refused`(line: String) { #expect(entries(line) == nil) }

    @Test func `entries below a path are whole components`() throws {
        let table = try #require(
            MountTable(
                parsing: Array(
                    ["/", "/a", "/a/b", "/ab", "/a/b/c"].enumerated().map { index, path in
                        "\(index) 0 0:1 / \(path) rw - tmpfs t rw\n"
                    }.joined().utf8)))
        #expect(table.entries(atOrBelow: PathBytes("/a")).map(\.mountPoint.description) == ["/a", "/a/b", "/a/b/c"])
        #expect(table.entries(atOrBelow: PathBytes("/a/")).count == 3)
        #expect(table.entries(atOrBelow: PathBytes("/")).count == 5)
        #expect(table.top(at: PathBytes("/ab"))?.id == 3)
        #expect(table.top(at: PathBytes("/abc")) == nil)
    }

    @Test func `this system's table can be read`() throws {
        let table = try MountTable.read()
        #expect(table.top(at: PathBytes("/")) != nil)
        #expect(table.top(at: PathBytes("/proc"))?.fileSystem == "proc")
    }

    @Test func `mount points are told from directories, links and bind mounts of the same device`() throws {
        try MountTableTests.tellMountPoints()
    }

    @Test func `and so they are where openat2 is refused`() async {
        await #expect(processExitsWith: .success) {
            try denyCall(437, errno: EPERM)
            try MountTableTests.tellMountPoints()
        }
    }

    static func tellMountPoints() throws {
        let scratch = try Scratch()
        let plain = try scratch.directory("plain")
        let memory = try scratch.memory("memory")
        let bound = try scratch.directory("bound")
        try KernelMount.bind(plain, at: bound)
        let odd = try scratch.memory("a b\\c\n#")
        symlink(scratch.text("memory"), scratch.text("link"))
        #expect(try MountTable.isMountPoint(PathBytes("/")))
        #expect(try MountTable.isMountPoint(memory))
        #expect(try MountTable.isMountPoint(PathBytes(memory.bytes + [UInt8(ascii: "/")])))
        #expect(try MountTable.isMountPoint(PathBytes(scratch.text("memory/."))))
        #expect(try MountTable.isMountPoint(bound))
        #expect(try MountTable.isMountPoint(odd))
        #expect(try !MountTable.isMountPoint(plain))
        #expect(try !MountTable.isMountPoint(scratch("link")), "a link is not what it points to")
        #expect(try MountTable.read().top(at: odd)?.fileSystem == "tmpfs", "found under its escaped name")
        let error = #expect(throws: LayerError.self) { try MountTable.isMountPoint(scratch("none")) }
        #expect(error?.code == .notFound)
    }

    @Test func `the same file system around a path does not make it mounted`() throws {
        let scratch = try Scratch()
        let memory = try scratch.memory("memory")
        let inside = try scratch.directory("memory/inside")
        let magic: UInt32 = 0x0102_1994
        #expect(try MountTable.state(of: memory, magic: magic) == .mounted)
        #expect(try MountTable.state(of: inside, magic: magic) == .notMounted)
        #expect(try MountTable.state(of: memory, magic: 0x794c_7630) == .notMounted)
        #expect(try MountTable.state(of: scratch("none"), magic: magic) == .notMounted)
        #expect(try MountTable.state(of: memory) == .mounted)
        #expect(try MountTable.state(of: inside) == .notMounted)
        #expect(try MountTable.state(of: scratch("none")) == .notMounted)
    }

    @Test func `everything below a directory is unmounted, stacked mounts and hidden ones too`() throws {
        let scratch = try Scratch()
        let top = try scratch.memory("top")
        try scratch.memory("top/a")
        try scratch.memory("top/a/b")
        try scratch.memory("top/a/b")
        try scratch.memory("top/c")
        try scratch.memory("topmost")
        symlink(scratch.path, scratch.text("top/c/link"))
        try KernelMount.unmountAll(atOrBelow: top, keepingTop: true)
        let left = try MountTable.read().entries(atOrBelow: PathBytes(scratch.path))
        #expect(left.map(\.mountPoint) == [top, scratch("topmost")])
        try KernelMount.unmountAll(atOrBelow: top)
        try KernelMount.unmountAll(atOrBelow: top)
        try KernelMount.unmountAll(atOrBelow: scratch("none"))
        #expect(try MountTable.read().entries(atOrBelow: top).isEmpty)
        #expect(try MountTable.isMountPoint(scratch("topmost")), "a name that only begins the same stays")
    }

    @Test func `unmounting what is not mounted says so`() throws {
        let scratch = try Scratch()
        let error = #expect(throws: LayerError.self) { try KernelMount.unmount(PathBytes(scratch.path)) }
        #expect(error?.description == "unmount \(scratch.path): Invalid argument (umount2)")
    }

    @Test func `options that the kernel would cut are refused`() throws {
        let scratch = try Scratch()
        let data = [UInt8](repeating: UInt8(ascii: "x"), count: KernelMount.dataLimit + 1)
        let error = #expect(throws: LayerError.self) {
            try KernelMount.mount(source: PathBytes("t"), target: PathBytes(scratch.path), type: "tmpfs", data: data)
        }
        #expect(error?.code == .limitExceeded)
    }

    @Test func `a bind mount through the second interface`() throws {
        let scratch = try Scratch()
        try scratch.directory("source")
        try scratch.write("source/file", "seen")
        try scratch.directory("target")
        try KernelMount.copyTree(scratch("source"), to: scratch("target"))
        #expect(scratch.read("target/file") == "seen")
        #expect(try MountTable.isMountPoint(scratch("target")))
    }
}
