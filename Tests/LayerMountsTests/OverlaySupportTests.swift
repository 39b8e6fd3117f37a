import Glibc
import LayerModel
import LayerMounts
import Testing

private func kernelParameter(_ name: String) -> String? {
    contents("/sys/module/overlay/parameters/\(name)")?.split(separator: "\n").first.map(String.init)
}

@Suite struct OverlaySupportTests {
    @Test(arguments: [NewMountAPI.none, .found], [1, 2])
    func `overlay works on a real file system, and nothing is left`(api: NewMountAPI, lowers: Int) throws {
        let scratch = try Scratch()
        let home = try scratch.memory("home")
        let support = OverlaySupport(home: home, api: api)
        try support.checkMount(lowers: lowers)
        #expect(try support.nativeDiffProblem(OverlayMountOptions(redirectFollow: true)) == nil)
        #expect(try support.usesMetacopy() == (kernelParameter("metacopy") == "Y"))
        let follows = kernelParameter("redirect_always_follow") != nil && kernelParameter("metacopy") == "N"
        #expect(try support.acceptsRedirectFollow() == follows)
        #expect(!support.needsUserXattr(), "tests run in the first user namespace")
        #expect(text(try run("ls", ["-A", scratch.text("home")]).standardOutput) == "")
        #expect(try MountTable.read().entries(atOrBelow: home).map(\.mountPoint) == [home])
    }

    @Test func `redirects make the native diff unusable, and are found by trying`() throws {
        let scratch = try Scratch()
        let home = try scratch.memory("home")
        let support = OverlaySupport(home: home)
        let problem = try support.nativeDiffProblem(OverlayMountOptions(extra: ["redirect_dir=on"]))
        #expect(problem == "kernel has CONFIG_OVERLAY_FS_REDIRECT_DIR enabled")
        #expect(try support.usesMetacopy(OverlayMountOptions(extra: ["metacopy=on"])))
        #expect(try support.nativeDiffProblem(OverlayMountOptions(userXattr: true)) == nil)
        #expect(text(try run("ls", ["-A", scratch.text("home")]).standardOutput) == "")
    }

    @Test func `an overlay over an overlay is refused with the kernel's reason`() throws {
        let scratch = try Scratch()
        let home = try scratch.memory("home")
        for name in ["l", "u", "w", "m"] { try scratch.directory("home/\(name)") }
        try OverlayMount(lowers: [scratch("home/l")], upper: scratch("home/u"), work: scratch("home/w"))
            .mount(at: scratch("home/m"), relativeTo: home, api: .none)
        let error = #expect(throws: LayerError.self) {
            try OverlaySupport(home: scratch("home/m")).checkMount()
        }
        #expect(error?.operation == "error creating overlay mount to")
        #expect(text(try run("ls", ["-A", scratch.text("home/m")]).standardOutput) == "")
    }

    @Test func `what killed probes left is found by its form, and nothing else`() throws {
        let scratch = try Scratch()
        let home = try scratch.memory("home")
        for name in ["check-overlayfs-support12", "opaque-bug-checkab", "metacopy-check9", "layer", "l"] {
            try scratch.directory("home/\(name)/l1/d")
        }
        for part in ["lower", "upper", "work", "merged"] { try scratch.directory("home/opaque-bug-checkab/\(part)") }
        try OverlayMount(
            lowers: [scratch("home/opaque-bug-checkab/lower")], upper: scratch("home/opaque-bug-checkab/upper"),
            work: scratch("home/opaque-bug-checkab/work")
        ).mount(at: scratch("home/opaque-bug-checkab/merged"), relativeTo: home, api: .none)
        // What somebody mounted in one stays, and with it the directory.
        try scratch.directory("home/opaque-bug-check5/upper/d")
        try scratch.memory("home/opaque-bug-check5/merged")
        try scratch.directory("home/opaque-bug-check6/merged")
        try scratch.memory("home/opaque-bug-check6/upper/d")
        // Called so, but somebody else's: notes, a thing that is empty, a name of another form.
        try scratch.directory("home/check-overlayfs-support-notes/lower1")
        try scratch.directory("home/metacopy-check77")
        try scratch.directory("home/ldiff-probe5/lower")
        // Ours, whose process was killed before it made anything in it.
        try scratch.directory("home/metacopy-check78")
        _ = try run("chmod", ["1700", scratch.text("home/metacopy-check78")])
        try scratch.write("home/ldiff-probe5/letter", "")
        // In a probe's directories, and what no probe puts there.
        try scratch.directory("home/check-overlayfs-support77/upper")
        try scratch.write("home/check-overlayfs-support77/upper/photo.jpg", "a photo")
        try scratch.directory("home/opaque-bug-check1/l1/d")
        try scratch.write("home/opaque-bug-check1/l1/d/letter", "")
        try scratch.directory("home/opaque-bug-check2/upper/d")
        try scratch.write("home/opaque-bug-check2/upper/d/f", "a diary")
        try scratch.directory("home/opaque-bug-check3/merged/d")
        try scratch.write("home/opaque-bug-check3/merged/d/letter", "")
        // A probe's own, in whole.
        try scratch.directory("home/opaque-bug-check4/upper/d")
        try scratch.write("home/opaque-bug-check4/upper/d/f", "")
        try scratch.directory("home/opaque-bug-check4/work/work")
        let found = try ProbeLeftovers.find(in: home)
        #expect(
            found.compactMap { $0.splitLast()?.name.description } == [
                "check-overlayfs-support12", "metacopy-check78", "metacopy-check9", "opaque-bug-check4",
                "opaque-bug-checkab",
            ])
        for path in found { try ProbeLeftovers.remove(path) }
        #expect(
            text(try run("ls", ["-A", scratch.text("home")]).standardOutput)
                == "check-overlayfs-support-notes\ncheck-overlayfs-support77\nl\nlayer\nldiff-probe5\nmetacopy-check77\n"
                + "opaque-bug-check1\nopaque-bug-check2\nopaque-bug-check3\nopaque-bug-check5\nopaque-bug-check6\n")
        #expect(try MountTable.mounts(atOrBelow: home).count == 3)
        #expect(try ProbeLeftovers.find(in: home).isEmpty)
    }

    @Test func `directory types are found, in an empty directory too`() throws {
        let scratch = try Scratch()
        let empty = try scratch.directory("empty")
        #expect(try OverlaySupport.supportsDirectoryTypes(empty))
        #expect(text(try run("ls", ["-A", scratch.text("empty")]).standardOutput) == "")
        #expect(try OverlaySupport.supportsDirectoryTypes(PathBytes(scratch.path)))
    }

    @Test func `an ext file system without types in its directories is found out`() throws {
        let scratch = try Scratch()
        try run("truncate", ["-s", "8M", scratch.text("image")])
        try run("mke2fs", ["-q", "-t", "ext4", "-O", "^filetype", scratch.text("image")])
        let point = try scratch.directory("point")
        try run("mount", ["-o", "loop", scratch.text("image"), scratch.text("point")])
        #expect(try !OverlaySupport.supportsDirectoryTypes(point))
        #expect(try FileSystemKind.of(point) == .extfs)
        try run("umount", [scratch.text("point")])
    }

    @Test func `file systems have names`() throws {
        let scratch = try Scratch()
        #expect(try FileSystemKind.of(scratch.memory("m")).name == "tmpfs")
        #expect(FileSystemKind.xfs.name == "xfs" && FileSystemKind.overlay.name == "overlayfs")
        #expect(FileSystemKind(magic: 0x1234).name == "<unknown>")
        #expect(FileSystemKind(magic: 0x6969).isNetwork && !FileSystemKind.extfs.isNetwork)
    }
}
