import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// Section 9.2: upper directories of each dialect, and pairs of trees, as layers.
@Suite struct OverlayExportTests {
    private static let time = TreeBuilder.time

    /// Builds an upper directory and a lower one, and lists the upper's layer.
    private func export(
        _ profile: LayerProfile = .full, _ dialect: WhiteoutDialect = .overlay,
        lower: ((TreeBuilder) throws -> Void)? = nil, upper: (TreeBuilder) throws -> Void
    ) throws -> [ListedEntry] {
        let scratch = try TemporaryDirectory()
        var lowers: [String] = []
        if let lower {
            lowers = [scratch.path + "/lower"]
            try TreeBuilder.make(lowers[0], lower)
        }
        try TreeBuilder.make(scratch.path + "/upper", upper)
        return try listed(layer(source(scratch.path + "/upper", lowers: lowers, dialect), profile))
    }

    @Test("T051: a whiteout device", arguments: LayerProfile.allCases)
    func whiteout(_ profile: LayerProfile) throws {
        let entries = try export(profile) { tree in
            try tree.directory("d3")
            try tree.whiteout("d3/f1")
        }
        #expect(entries.map(\.text) == ["D d3/", "W d3/.wh.f1"])
        #expect(entries[1].mode == (profile == .cstorage ? 0 : 0o600) && entries[1].type == "0")
        #expect(entries[1].time == Int(Self.time) && entries[1].size == 0)
    }

    @Test("T052, T053: opaque directories, by either namespace", arguments: LayerProfile.allCases)
    func opaque(_ profile: LayerProfile) throws {
        // containerd's own profile compares with a lower directory where one is given.
        let withLower = profile == .full || profile == .cstorage
        let forms: [(String, WhiteoutDialect)] = [
            ("trusted.overlay.opaque", .overlay), ("user.overlay.opaque", .overlayUserXattr),
            ("user.fuseoverlayfs.opaque", .fuseOverlayFS),
        ]
        for (attribute, dialect) in forms {
            let entries = try export(profile, dialect, lower: withLower ? { try $0.directory("d1") } : nil) { tree in
                try tree.directory("d1", 0o700)
                try tree.attribute("d1", attribute, "y")
                try tree.file("d1/f1", "x")
            }
            #expect(entries.map(\.text) == ["D d1/", "W d1/.wh..wh..opq", "F d1/f1"], "\(attribute)")
            let marker = try #require(entries.dropFirst().first)
            #expect(marker.mode == 0o700 && marker.time == 0 && marker.size == 0 && marker.type == "0")
            // containers/storage takes every `user.` attribute but `user.overlay.`.
            let leaks = profile == .cstorage && attribute.hasPrefix("user.fuseoverlayfs.")
            #expect(entries.map(\.records.count) == [leaks ? 1 : 0, 0, 0])
        }
    }

    @Test(
        "T052: `full` and `cstorage` mark only what hides something", arguments: [LayerProfile.full, .cstorage, .moby])
    func opaqueOverNothing(_ profile: LayerProfile) throws {
        let entries = try export(profile, lower: { try $0.file("other") }) { tree in
            try tree.directory("d1")
            try tree.attribute("d1", "trusted.overlay.opaque", "y")
        }
        #expect(entries.map(\.text) == (profile == .moby ? ["D d1/", "W d1/.wh..wh..opq"] : ["D d1/"]))
    }

    @Test("T054: opaque `x` is no marker, and attributes spell whiteouts wherever the kernel finds no file")
    func attributeWhiteouts() throws {
        for (space, dialect) in [("trusted", WhiteoutDialect.overlay), ("user", .overlayUserXattr)] {
            let entries = try export(.full, dialect) { tree in
                try tree.directory("d")
                try tree.attribute("d", "\(space).overlay.opaque", "x")
                try tree.file("d/gone")
                try tree.attribute("d/gone", "\(space).overlay.whiteout", "")
                try tree.file("d/kept")
                try tree.directory("e")
                try tree.file("e/gone")
                try tree.attribute("e/gone", "\(space).overlay.whiteout", "")
                try tree.file("e/full", "x")
                try tree.attribute("e/full", "\(space).overlay.whiteout", "")
            }
            #expect(
                entries.map(\.text) == ["D d/", "W d/.wh.gone", "F d/kept", "D e/", "F e/full", "W e/.wh.gone"])
        }
    }

    @Test("T055: other values mean nothing", arguments: ["yes", "", "Y", "n"])
    func notOpaque(_ value: String) throws {
        let entries = try export(.moby) { tree in
            try tree.directory("d")
            try tree.attribute("d", "trusted.overlay.opaque", value)
        }
        #expect(entries.map(\.text) == ["D d/"])
    }

    @Test("T056, T057: two whiteouts of one inode", arguments: LayerProfile.allCases)
    func sharedWhiteouts(_ profile: LayerProfile) throws {
        for name in ["gone", String(repeating: "g", count: 120)] {
            let entries = try export(profile) { tree in
                try tree.whiteout(name)
                try tree.link("h", to: name)
            }
            let keeps = [.moby, .docker20, .docker20late].contains(profile)
            #expect(entries.map(\.text) == ["W .wh.\(name)", "W .wh.h"])
            #expect(String(decoding: entries[1].link, as: UTF8.self) == (keeps ? name : ""))
            #expect(entries[1].record("linkpath") == (keeps && name.count > 100 ? name : nil))
        }
    }

    @Test("T058: a whiteout stands where the deleted name does")
    func place() throws {
        let entries = try export { tree in
            try tree.file(".a")
            try tree.whiteout("b")
            try tree.file("c")
        }
        #expect(entries.map(\.text) == ["F .a", "W .wh.b", "F c"])
    }

    @Test("T059: a metadata-only copy is exported with its data", arguments: [3, 700_000])
    func metacopy(_ size: Int) throws {
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        let content = (0..<size).map { UInt8($0 % 241) }
        try TreeBuilder.make(memory.path + "/lower") { try $0.file("f", bytes: content) }
        let options = OverlayOptions(redirectDirectories: true, metacopy: true)
        let mount = try Mount.overlay(
            options, lowers: [memory.path + "/lower"], upper: memory.path + "/upper", work: memory.path + "/work",
            at: memory.path + "/merged")
        #expect(chmod(mount.path + "/f", 0o600) == 0)
        #expect(rename(mount.path + "/f", mount.path + "/g") == 0)
        try mount.unmount()
        let upper = memory.path + "/upper"
        #expect(
            try TreeSnapshot(upper)["g"]?.attributes["trusted.overlay.metacopy"] != nil, "the kernel made a metacopy")
        let entries = try listed(layer(source(upper, lowers: [memory.path + "/lower"], .overlay)))
        #expect(entries.map(\.text) == ["W .wh.f", "F g"])
        #expect(entries[1].body == content && entries[1].mode == 0o600)
        #expect { _ = try layer(source(upper, .overlay)) } throws: { ($0 as? LayerError)?.code == .notFound }
    }

    @Test("T060: a renamed directory is exported with its contents")
    func redirect() throws {
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        try TreeBuilder.make(memory.path + "/lower") { tree in
            try tree.directory("old")
            try tree.file("old/f", "content")
        }
        let mount = try Mount.overlay(
            OverlayOptions(redirectDirectories: true), lowers: [memory.path + "/lower"], upper: memory.path + "/upper",
            work: memory.path + "/work", at: memory.path + "/merged")
        #expect(rename(mount.path + "/old", mount.path + "/new") == 0)
        try mount.unmount()
        let upper = source(memory.path + "/upper", lowers: [memory.path + "/lower"], .overlay)
        let entries = try listed(layer(upper))
        #expect(entries.map(\.text) == ["D new/", "F new/f", "W .wh.old"])
        #expect(String(decoding: entries[1].body, as: UTF8.self) == "content")
        #expect(try changes(upper) == ["A /new", "A /new/f", "D /old"])
    }

    @Test("T061: the bookkeeping of aufs stays behind", arguments: [LayerProfile.moby, .full])
    func aufs(_ profile: LayerProfile) throws {
        let entries = try export(profile, .aufs) { tree in
            try tree.directory(".wh..wh.plnk")
            try tree.file(".wh..wh.plnk/123")
            try tree.file(".wh..wh.aufs")
            try tree.directory("x")
            try tree.file("x/.wh.y")
            try tree.file("x/.wh..wh..opq")
        }
        #expect(entries.map(\.text) == ["D x/", "W x/.wh..wh..opq", "W x/.wh.y"])
    }

    // MARK: Pairs of trees

    private func compare(
        _ profile: LayerProfile, old: (TreeBuilder) throws -> Void, new: (TreeBuilder) throws -> Void,
        _ change: (inout DiffOptions) -> Void = { _ in }
    ) throws -> [ListedEntry] {
        let scratch = try TemporaryDirectory()
        try TreeBuilder.make(scratch.path + "/old", old)
        try TreeBuilder.make(scratch.path + "/new", new)
        return try listed(
            layer(source(scratch.path + "/new", lowers: [scratch.path + "/old"]), profile, change))
    }

    @Test("T062: a deletion between two trees")
    func deletion() throws {
        func old(_ tree: TreeBuilder) throws {
            try tree.directory("d")
            try tree.file("d/f")
        }
        for profile in [LayerProfile.moby, .containerd, .full] {
            let entries = try compare(profile, old: old, new: { try $0.directory("d") }) { $0.now = 1_800_000_000 }
            #expect(entries.map(\.text) == ["D d/", "W d/.wh.f"], "\(profile)")
            #expect(entries[1].mode == 0 && entries[1].time == (profile == .moby ? 1_800_000_000 : 0))
        }
    }

    @Test("T063: containerd writes the directories above a change")
    func parents() throws {
        let entries = try compare(
            .containerd,
            old: { tree in
                try tree.directory("d1")
                try tree.directory("d2", 0o770)
            },
            new: { tree in
                try tree.directory("d1")
                try tree.directory("d2", 0o770)
                try tree.directory("d1/d", 0o700)
                try tree.file("d2/f")
            })
        #expect(entries.map(\.text) == ["D d1/", "D d1/d/", "D d2/", "F d2/f"])
    }

    @Test("T065: one deletion for a directory and all in it")
    func deletedDirectory() throws {
        let entries = try compare(
            .containerd,
            old: { tree in
                for name in ["d1", "d2"] {
                    try tree.directory(name)
                    try tree.file(name + "/f")
                }
            }, new: { try $0.directory("d3") })
        #expect(entries.map(\.text) == ["W .wh.d1", "W .wh.d2", "D d3/"])
    }

    @Test("T066: a changed directory is written once", arguments: [true, false])
    func changedDirectory(_ childChanges: Bool) throws {
        let entries = try compare(
            .containerd,
            old: { tree in
                try tree.directory("d")
                try tree.file("d/f", "1")
            },
            new: { tree in
                try tree.directory("d", 0o700)
                try tree.file("d/f", childChanges ? "22" : "1")
            })
        #expect(entries.map(\.text) == (childChanges ? ["D d/", "F d/f"] : ["D d/"]))
    }

    @Test("T067: override_stat stands for owner, mode and type", arguments: [LayerProfile.full, .cstorage])
    func override(_ profile: LayerProfile) throws {
        let scratch = try TemporaryDirectory()
        try TreeBuilder.make(scratch.path + "/t") { tree in
            try tree.directory("d", 0o755)
            try tree.attribute("d", "user.containers.override_stat", "10:20:0700")
            try tree.file("f", "x")
            try tree.attribute("f", "user.containers.override_stat", "7:8:04755:file")
            try tree.file("n")
            try tree.attribute("n", "user.containers.override_stat", "0:6:0660:block-8-1")
            try tree.file("s")
            try tree.attribute("s", "user.containers.override_stat", "0:0:0755:socket")
        }
        var tree = source(scratch.path + "/t")
        tree.obeysOwnerOverrides = true
        let entries = try listed(layer(tree, profile))
        #expect(entries.map(\.text) == ["D d/", "F f", "B n 8:1"])
        #expect(entries.map(\.uid) == [10, 7, 0] && entries.map(\.gid) == [20, 8, 6])
        #expect(entries.map(\.mode) == [0o700, 0o4755, 0o660])
        #expect(entries.allSatisfy { $0.records.isEmpty })
    }
}
