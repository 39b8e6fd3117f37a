import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// Section 9.3: the list of changes between two trees, and of an upper directory.
@Suite struct ChangesTests {
    private static let time = TreeBuilder.time

    /// Changes from one built tree to another.
    private func compare(
        _ profile: LayerProfile = .full, contentCheck: Bool = false, old: (TreeBuilder) throws -> Void,
        new: (TreeBuilder) throws -> Void
    ) throws -> [String] {
        let scratch = try TemporaryDirectory()
        try TreeBuilder.make(scratch.path + "/old", old)
        try TreeBuilder.make(scratch.path + "/new", new)
        return try changes(
            source(scratch.path + "/new", lowers: [scratch.path + "/old"]), profile, contentCheck: contentCheck)
    }

    private static func base(_ tree: TreeBuilder) throws {
        try tree.directory("d")
        try tree.file("d/f", "12345")
        try tree.link("d/h", to: "d/f")
        try tree.file("f", "12345")
        try tree.link(symbolic: "l", to: "target")
        try tree.character("c", 1, 3)
        try tree.block("b", 7, 1)
        try tree.fifo("p")
    }

    @Test("T068: equal copies differ in nothing", arguments: LayerProfile.allCases)
    func copies(_ profile: LayerProfile) throws {
        #expect(try compare(profile, old: Self.base, new: Self.base) == [])
    }

    @Test("T069: equal inodes are pruned, with all below and without a look")
    func pruned() throws {
        let scratch = try TemporaryDirectory()
        let (old, new) = (scratch.path + "/old", scratch.path + "/new")
        try TreeBuilder.make(old) { tree in
            for index in 0..<100 { try tree.file("f\(index)", "x") }
        }
        let result = try runProgram(["cp", "-al", old, new])
        #expect(result.status == 0)
        var count = 0
        let report = try DiffEngine.changes(source(new, lowers: [old], workers: 1)) { _, _ throws(LayerError) in
            count += 1
        }
        #expect(count == 0)
        #expect(report.io.stats == 0, "statx calls for names of equal inodes")
    }

    /// What is done to `f` or `d`, and what each rule makes of it.
    static let metadata:
        [(name: String, docker: [String], cstorage: [String], change: @Sendable (TreeBuilder) throws -> Void)] = [
            ("T070 chmod", ["C /f"], ["C /f"], { try $0.mode("f", 0o600) }),
            ("T071 chown", ["C /f"], ["C /f"], { try $0.owner("f", 1, 0) }),
            (
                "T072 setcap", ["C /f"], ["C /f"],
                { tree in
                    try tree.attribute("f", "security.capability", capability(revision: 2))
                    try tree.times("f", TreeBuilder.time)
                }
            ),
            ("T073 mtime", ["C /f"], ["C /f"], { try $0.times("f", TreeBuilder.time + 1) }),
            ("T073 mtime of a directory", [], ["C /d"], { try $0.directory("d", time: TreeBuilder.time + 1) }),
            ("T073 chmod of a directory", ["C /d"], ["C /d"], { try $0.directory("d", 0o700) }),
            ("T083 mtime of a block device", ["C /b"], ["C /b"], { try $0.times("b", TreeBuilder.time + 1) }),
            ("T080", ["C /d", "C /d/f", "C /d/h"], ["C /d", "C /d/f", "C /d/h"], { try $0.file("d/f", "other") }),
            ("T081 a new name in the root", ["A /g"], ["A /g"], { try $0.file("g") }),
        ]

    @Test("T070-T073, T080, T081, T083: what counts as a change", arguments: metadata.indices)
    func changed(_ index: Int) throws {
        let test = Self.metadata[index]
        for profile in LayerProfile.allCases {
            let lines = try compare(
                profile, old: Self.base,
                new: { tree in
                    try Self.base(tree)
                    try test.change(tree)
                    if test.name == "T080" { try tree.times("d/f", TreeBuilder.time + 1) }
                })
            #expect(lines == (profile == .cstorage ? test.cstorage : test.docker), "\(test.name), \(profile)")
        }
    }

    @Test("T074, T075: times cut to seconds")
    func truncatedTimes() throws {
        func lines(_ profile: LayerProfile, _ nanoseconds: Int, contentCheck: Bool = false) throws -> [String] {
            try compare(
                profile, contentCheck: contentCheck, old: { try $0.file("f", "1", nanoseconds: 0) },
                new: { try $0.file("f", "2", nanoseconds: nanoseconds) })
        }
        for nanoseconds in [0, 500_000_000] {
            #expect(try lines(.docker20, nanoseconds) == [])
            #expect(try lines(.docker20, nanoseconds, contentCheck: true) == ["C /f"])
            #expect(try lines(.containerd, nanoseconds) == ["C /f"])
        }
    }

    @Test("T076: a link with another text of the same length")
    func retarget() throws {
        for profile in LayerProfile.allCases {
            let lines = try compare(
                profile, old: { try $0.link(symbolic: "l", to: "a") }, new: { try $0.link(symbolic: "l", to: "b") })
            let misses = [.docker20, .docker20late, .moby].contains(profile)
            #expect(lines == (misses ? [] : ["C /l"]), "\(profile)")
        }
    }

    @Test("T077-T079, T082: kinds that change, names that move")
    func kinds() throws {
        func file(_ tree: TreeBuilder) throws { try tree.file("x", "1") }
        func directory(_ tree: TreeBuilder) throws {
            try tree.directory("x")
            try tree.file("x/y")
        }
        #expect(try compare(old: file, new: directory) == ["C /x", "A /x/y"])
        #expect(try compare(old: directory, new: file) == ["C /x"])
        #expect(
            try compare(
                old: directory,
                new: { tree in
                    try tree.directory("z")
                    try tree.file("z/y")
                }) == ["D /x", "A /z", "A /z/y"])
        let scratch = try TemporaryDirectory()
        try TreeBuilder.make(scratch.path + "/new", directory)
        #expect(try changes(source(scratch.path + "/new")) == ["A /x", "A /x/y"])
    }

    @Test("T080: every directory above a change, in order")
    func ancestors() throws {
        func build(_ content: String) -> (TreeBuilder) throws -> Void {
            { tree in
                for name in ["a", "a/b", "a/b/c"] { try tree.directory(name) }
                try tree.file("a/b/c/f", content)
                try tree.file("a-b")
            }
        }
        #expect(
            try compare(old: build("1"), new: build("22")) == ["C /a", "C /a/b", "C /a/b/c", "C /a/b/c/f"])
    }

    // MARK: Upper directories

    private func changesOverlay(
        _ dialect: WhiteoutDialect = .overlay, lowers: [(TreeBuilder) throws -> Void],
        upper: (TreeBuilder) throws -> Void
    ) throws -> [String] {
        let scratch = try TemporaryDirectory()
        var paths: [String] = []
        for (index, lower) in lowers.enumerated() {
            paths.append(scratch.path + "/lower\(index)")
            try TreeBuilder.make(paths[index], lower)
        }
        try TreeBuilder.make(scratch.path + "/upper", upper)
        return try changes(source(scratch.path + "/upper", lowers: paths, dialect))
    }

    @Test("T085: a whiteout of nothing is nothing")
    func idleWhiteout() throws {
        let lines = try changesOverlay(
            lowers: [{ try $0.directory("d") }],
            upper: { tree in
                try tree.directory("d")
                try tree.whiteout("d/gone")
                try tree.whiteout("gone")
            })
        #expect(lines == [])
    }

    @Test("T086: a copy without change is none")
    func copyUp() throws {
        #expect(try changesOverlay(lowers: [Self.base], upper: Self.base) == [])
    }

    @Test("T087: a directory made anew, with one of its old names")
    func replaced() throws {
        func old(_ tree: TreeBuilder) throws {
            try tree.directory("d")
            for name in ["a", "b", "c"] { try tree.file("d/" + name, "x") }
        }
        for content in ["x", "yy"] {
            let lines = try changesOverlay(
                lowers: [old],
                upper: { tree in
                    try tree.directory("d")
                    try tree.attribute("d", "trusted.overlay.opaque", "y")
                    try tree.file("d/b", content)
                })
            #expect(lines == ["C /d", "D /d/a"] + (content == "x" ? [] : ["C /d/b"]) + ["D /d/c"])
        }
    }

    @Test("T088, T089: what a nearer lower hides does not exist; a dangling link does")
    func lowers() throws {
        let lines = try changesOverlay(
            lowers: [
                { tree in
                    try tree.whiteout("d")
                    try tree.link(symbolic: "l", to: "nowhere")
                },
                { tree in
                    try tree.directory("d")
                    try tree.file("d/f")
                },
            ],
            upper: { tree in
                try tree.directory("d")
                try tree.file("d/f")
                try tree.file("l", "now a file")
            })
        #expect(lines == ["A /d", "A /d/f", "C /l"])
    }

    @Test("T090: an aufs branch")
    func aufs() throws {
        let lines = try changesOverlay(
            .aufs,
            lowers: [
                { tree in
                    try tree.directory("dir1")
                    try tree.file("dir1/file1-1", "old")
                    try tree.file("dir1/file1-2")
                    try tree.directory("dir1/subfolder")
                }
            ],
            upper: { tree in
                try tree.directory("dir1")
                try tree.file("dir1/.wh.file1-2")
                try tree.file("dir1/file1-1", "newer")
                try tree.directory("dir1/subfolder")
                try tree.file("dir1/subfolder/newFile")
            })
        #expect(
            lines == [
                "C /dir1", "C /dir1/file1-1", "D /dir1/file1-2", "C /dir1/subfolder", "A /dir1/subfolder/newFile",
            ])
    }
}
