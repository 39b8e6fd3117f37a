import LayerModel
import LayerMounts
import TestSupport
import Testing

@testable import ContainerdServices

func overlay(_ options: String..., type: String = "overlay") -> [MountSpec] {
    [MountSpec(type: type, source: "overlay", options: options)]
}

func bind(_ source: String, _ mode: String = "rw") -> [MountSpec] {
    [MountSpec(type: "bind", source: source, options: [mode, "rbind"])]
}

private func paths(_ text: String...) -> [PathBytes] { text.map { PathBytes($0) } }

@Suite struct DiffMountTests {
    @Test func `mounts of containerd's snapshotters are understood`() throws {
        #expect(try MountShape([]) == .nothing)
        #expect(try MountShape(bind("/a")) == .directory(PathBytes("/a"), isReadOnly: false))
        #expect(try MountShape(bind("/a", "ro")) == .directory(PathBytes("/a"), isReadOnly: true))
        var shape = OverlayShape(kind: .kernel)
        shape.upper = PathBytes("/s/3/fs")
        shape.lowers = paths("/s/2/fs", "/s/1/fs")
        let options = ["index=off", "workdir=/s/3/work", "upperdir=/s/3/fs", "lowerdir=/s/2/fs:/s/1/fs"]
        #expect(try MountShape([MountSpec(type: "overlay", source: "overlay", options: options)]) == .overlay(shape))
        shape.usesUserAttributes = true
        #expect(
            try MountShape([MountSpec(type: "overlay", source: "overlay", options: options + ["userxattr"])])
                == .overlay(shape))
        #expect(shape.dialect == .overlayUserXattr)
        var fuse = OverlayShape(kind: .fuse)
        fuse.lowers = paths("/l")
        fuse.upper = PathBytes("/u")
        fuse.uidMap = IDMap([IDMap.Range(container: 0, host: 1000, count: 1), .init(container: 1, host: 5, count: 9)])
        #expect(
            try MountShape(
                overlay("lowerdir=/l", "upperdir=/u", "uidmapping=0:1000:1:1:5:9", type: "fuse3.fuse-overlayfs"))
                == .overlay(fuse))
        #expect(fuse.dialect == .fuseOverlayFS)
    }

    @Test func `what only its mounter knows is not guessed`() throws {
        let zfs = [MountSpec(type: "zfs", source: "pool/1")]
        #expect(try MountShape(zfs) == .unknown)
        #expect(try MountShape(bind("/a") + bind("/b")) == .unknown)
        #expect(try MountShape([MountSpec(type: "bind", source: "/a", target: "b")]) == .unknown)
        #expect(try MountShape(overlay("lowerdir=/a::/b")) == .unknown)
        #expect(try MountShape(overlay("lowerdir+=/a")) == .unknown)
        #expect(try MountShape(overlay("upperdir=/a")) == .unknown)
        #expect(try MountShape(overlay("lowerdir=/a", type: "format/overlay")) == .unknown)
        #expect(!SpecMount.canMount(overlay("lowerdir=/a", type: "format/overlay")))
        #expect(!SpecMount.canMount([MountSpec(type: "bind", source: "/", options: ["X-containerd.mkfs"])]))
        #expect(SpecMount.canMount(zfs))
    }

    @Test func `backslashes protect colons and themselves`() throws {
        let shape = try MountShape(overlay(#"lowerdir=/a\:b:/c\\d"#, #"upperdir=/e\:f\\g"#))
        #expect(shape.stack == paths("/e:f\\g", "/a:b", "/c\\d"))
    }

    @Test(arguments: [
        bind("relative"), bind("/a/../etc"), bind("/a\0b"), bind(""), overlay("lowerdir=/a:b"),
        overlay("lowerdir=/a", "upperdir=/b/.."),
        overlay("lowerdir=/a", "uidmapping=0:1", type: "fuse3.fuse-overlayfs"),
    ])
    func `paths and maps that make no sense are refused`(mounts: [MountSpec]) {
        #expect(throws: LayerError.self) { try MountShape(mounts) }
    }

    @Test func `a layer goes into the upper directory, or into the tree itself, or is mounted`() throws {
        let directory = try TemporaryDirectory()
        let (filled, empty) = (try directory.directory("filled"), try directory.directory("empty"))
        try writeFile(filled + "/file", [])
        func place(_ mounts: [MountSpec]) throws -> ApplyPlan.Place { try ApplyPlan(mounts, snapshots: nil).place }
        #expect(
            try place(overlay("lowerdir=\(filled)", "upperdir=/u", "workdir=/w"))
                == .upper(PathBytes("/u"), .overlay, lowers: paths(filled)))
        #expect(
            try place(overlay("lowerdir=\(filled)", "upperdir=/u", type: "fuse3.fuse-overlayfs"))
                == .upper(PathBytes("/u"), .fuseOverlayFS, lowers: paths(filled)))
        // Nothing below yet: a parent may come with Commit, and deletions must be kept for it.
        #expect(
            try place(overlay("lowerdir=\(empty)", "upperdir=/u"))
                == .upper(PathBytes("/u"), .overlay, lowers: nil))
        #expect(
            try place(overlay("lowerdir=\(empty):\(filled)", "upperdir=/u"))
                == .upper(PathBytes("/u"), .overlay, lowers: paths(empty, filled)))
        #expect(try place(bind("/a")) == .tree(PathBytes("/a")))
        let zfs = [MountSpec(type: "zfs", source: "pool/1")]
        #expect(try place(zfs) == .mounted(zfs))
        for mounts in [
            [], bind("/a", "ro"), overlay("lowerdir=\(filled)"), overlay("lowerdir=/a", "upperdir=/u", "ro"),
        ] {
            #expect(throws: LayerError.self) { try place(mounts) }
        }
    }

    @Test func `a difference is read from the upper directory where that tells it`() throws {
        func plan(_ left: [MountSpec], _ right: [MountSpec]) throws -> DiffPlan {
            try DiffPlan(left: left, right: right)
        }
        let upper = DiffPlan.upper(PathBytes("/u"), lowers: paths("/2", "/1"), .overlay, isServedByFuse: false)
        let active = overlay("workdir=/w", "upperdir=/u", "lowerdir=/2:/1")
        #expect(try plan(overlay("lowerdir=/2:/1", "index=off"), active) == upper)
        // A committed snapshot's view over its parent's.
        #expect(try plan(overlay("lowerdir=/2:/1"), overlay("lowerdir=/u:/2:/1")) == upper)
        #expect(
            try plan(bind("/1", "ro"), overlay("upperdir=/u", "lowerdir=/1", "workdir=/w"))
                == .upper(PathBytes("/u"), lowers: paths("/1"), .overlay, isServedByFuse: false))
        #expect(
            try plan(bind("/1", "ro"), overlay("upperdir=/u", "lowerdir=/1", type: "fuse3.fuse-overlayfs"))
                == .upper(PathBytes("/u"), lowers: paths("/1"), .fuseOverlayFS, isServedByFuse: true))
        #expect(try plan([], bind("/1")) == .trees(PathBytes("/1"), nil))
        #expect(try plan(bind("/1", "ro"), bind("/2")) == .trees(PathBytes("/2"), PathBytes("/1")))
        // Another parent, none, or the directories in another order.
        for left in [bind("/2", "ro"), [], overlay("lowerdir=/1:/2"), overlay("lowerdir=/3:/2:/1")] {
            #expect(try plan(left, active) == .mounted(left: left, right: active))
        }
        #expect(try plan(active, bind("/1")) == .mounted(left: active, right: bind("/1")))
        #expect(throws: LayerError.self) { try plan(bind("/1"), []) }
    }

    @Test func `options are sorted into flags and the rest`() {
        let words = MountWords(["ro", "rbind", "nosuid", "size=1", "suid", "volatile", "defaults", "x=y"])
        #expect(words.flags == [.readOnly, .bind, .recursive])
        #expect(words.data == Array("size=1,x=y".utf8))
        #expect(MountWords(["ro", "rw"]).flags == [])
    }
}
