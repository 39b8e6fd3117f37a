import Glibc
import LayerModel
import LinuxIO
import TestSupport
import Testing

/// Copies of trees, compared with everything that a tree holds.
@Suite struct TreeCopyTests {
    /// A tree in which everything occurs that a copy can get wrong.
    static func makeTree(_ path: String, userAttributes: Bool = true) throws {
        try TreeBuilder.make(path) { tree in
            try tree.directory("sub", 0o2750, uid: 7, gid: 8, time: 1_600_000_000, nanoseconds: 123_456_789)
            try tree.directory("sub/empty", 0o700, time: 5)
            try tree.directory("sub/deep", 0o1777, nanoseconds: 1)
            try tree.directory("sub/closed", 0o500)
            try tree.file("sub/closed/f", "in a directory that its owner may not write")
            try tree.file("a file", "Some data", 0o4755, nanoseconds: 999_999_999)
            try tree.file("empty", "", 0o000, uid: 70_000, gid: 70_001)
            try tree.file("sub/\\xff\\xfe", "a name that is no text", 0o644, time: -5, nanoseconds: 500)
            try tree.file("large", bytes: pattern(3, count: 3_000_001))
            try tree.file("ping", "program", 0o755, uid: 1)
            try tree.attribute("ping", "security.capability", capability(revision: 2))
            try tree.times("ping", 77, 7)
            if userAttributes {
                try tree.attribute("ping", "user.note", "kept only when asked")
                try tree.attribute("sub/deep", "trusted.note", "x")
            }
            try tree.link("sub/deep/again", to: "a file")
            try tree.link("sub/deep/once more", to: "a file")
            try tree.link("other", to: "a file")
            try tree.link(symbolic: "link", to: "sub/../dangling", time: 9)
            try tree.link("sub/linked link", to: "link")
            try tree.link(symbolic: "long", to: String(repeating: "t/", count: 2000))
            try tree.fifo("fifo", 0o620)
            try tree.socket("socket")
            try tree.character("null", 1, 3, 0o666)
            try tree.block("sub/disk", 259, 1_000_000)
            try tree.whiteout("gone")
            try tree.link("sub/gone too", to: "gone")
            try tree.directory("opaque", 0o751)
            try tree.attribute("opaque", "trusted.overlay.opaque", "y")
            try tree.attribute("opaque", "user.overlay.opaque", "y")
        }
        let sparse = open(path + "/sub/sparse", O_WRONLY | O_CREAT, 0o644)
        pwrite(sparse, "end", 3, 8_000_000)
        close(sparse)
    }

    /// Copies one directory to another by path.
    static func copy(
        _ source: String, to target: String, _ change: (inout TreeCopyOptions) -> Void = { _ in }
    ) throws -> TreeCopyReport {
        var options = TreeCopyOptions()
        options.sourcePath = PathBytes(source)
        change(&options)
        return try TreeCopy.copy(TestSupport.openPath(source), to: TestSupport.openPath(target), options: options)
    }

    /// The inode numbers of two trees' regular files by path, with both trees' values.
    private static func inodes(_ one: TreeSnapshot, _ two: TreeSnapshot) -> [(path: String, same: Bool)] {
        one.entries.filter { $0.value.kind == .regular }.map { ($0.key, $0.value.inode == two[$0.key]?.inode) }
    }

    @Test(arguments: [TreeCopyMode.content, .hardLink], [1, 2, 4])
    func `a copy with all attributes equals its source`(mode: TreeCopyMode, workers: Int) throws {
        let scratch = try TemporaryDirectory()
        try Self.makeTree(scratch.path + "/source")
        let target = try scratch.directory("target", mode: 0o700)
        let report = try Self.copy(scratch.path + "/source", to: target) {
            $0.mode = mode
            $0.attributes = .all
            $0.workers = workers
        }
        let original = try TreeSnapshot(scratch.path + "/source")
        let copied = try TreeSnapshot(target)
        #expect(copied.differences(from: original) == [])
        #expect(report.entries == original.entries.count - 1)
        for (path, same) in Self.inodes(original, copied) { #expect(same == (mode == .hardLink), "\(path)") }
        #expect(try #require(copied["sub/sparse"]).blocks < 100, "holes were filled")
        #expect(report.directories == 5 && report.symbolicLinks == 2 && report.nodes == 5)
        #expect(report.files == (mode == .content ? 7 : 0))
        #expect(report.contentBytes == (mode == .content ? 11_000_085 : 0))
        #expect(report.hardLinks == (mode == .content ? 5 : 12))
    }

    struct Selection: CustomTestStringConvertible, Sendable {
        var attributes: TreeCopyAttributes
        var capability: Bool
        var opaque: Bool
        var testDescription: String { "\(attributes.rawValue)" }
    }

    @Test(arguments: [
        Selection(attributes: [.capability], capability: true, opaque: false),
        Selection(attributes: [.capability, .opaque], capability: true, opaque: true),
        Selection(attributes: [], capability: false, opaque: false),
    ])
    func `only the attributes asked for are copied`(selection: Selection) throws {
        let scratch = try TemporaryDirectory()
        try Self.makeTree(scratch.path + "/source")
        let target = try scratch.directory("target")
        _ = try Self.copy(scratch.path + "/source", to: target) { $0.attributes = selection.attributes }
        let copied = try TreeSnapshot(target)
        #expect(
            try #require(copied["ping"]).attributes
                == (selection.capability ? ["security.capability": capability(revision: 2)] : [:]))
        let mark = Array("y".utf8)
        #expect(
            try #require(copied["opaque"]).attributes
                == (selection.opaque ? ["trusted.overlay.opaque": mark, "user.overlay.opaque": mark] : [:]))
        // Everything else is equal.
        var original = try TreeSnapshot(scratch.path + "/source")
        for path in ["ping", "opaque", "sub/deep"] {
            original.entries[path]?.attributes = copied[path]?.attributes ?? [:]
        }
        #expect(copied.differences(from: original) == [])
    }

    /// /etc/xattr.conf of libattr says `skip` for these.
    @Test(arguments: [true, false])
    func `attributes that the administrator keeps out of copies are left out and counted`(
        _ follows: Bool
    ) throws {
        let scratch = try TemporaryDirectory()
        try TreeBuilder.make(scratch.path + "/source") { tree in
            try tree.file("a", "a")
            try tree.directory("d")
            for name in ["a", "d"] {
                try tree.attribute(name, "user.Beagle.Uid", "1")
                try tree.attribute(name, "user.mine", "2")
            }
            try tree.attribute("a", "trusted.SGI_DMI_X", "3")
        }
        let target = try scratch.directory("target")
        let report = try Self.copy(scratch.path + "/source", to: target) {
            $0.attributes = .all
            $0.followsAttributeRules = follows
        }
        let copied = try TreeSnapshot(target)
        let mine = ["user.mine": Array("2".utf8)]
        if follows {
            #expect(copied["a"]?.attributes == mine && copied["d"]?.attributes == mine)
            #expect(report.leftOutAttributes.counts == ["user.Beagle.Uid": 2, "trusted.SGI_DMI_X": 1])
            #expect(report.leftOutAttributes.text == "trusted.SGI_DMI_X of 1 file, user.Beagle.Uid of 2 files")
        } else {
            #expect(copied["a"]?.attributes.count == 3 && report.leftOutAttributes.isEmpty)
        }
    }

    @Test(arguments: ["/var/tmp", "/dev/shm"]) func `CopyDir: modes and times at random, inodes differ`(place: String)
        throws
    {
        let scratch = try TemporaryDirectory()
        let other = try TemporaryDirectory(in: place)
        for seed in 1...6 {
            let source = try scratch.directory("source\(seed)")
            var tree = RandomTree(source, seed: UInt64(seed))
            tree.change(150)
            let target = try other.directory("target\(seed)")
            _ = try Self.copy(source, to: target) { $0.attributes = .all }
            let (original, copied) = (try TreeSnapshot(source), try TreeSnapshot(target))
            #expect(copied.differences(from: original) == [], "seed \(seed): \(tree.log)")
            for (path, same) in Self.inodes(original, copied) where place == "/var/tmp" { #expect(!same, "\(path)") }
        }
    }

    @Test func `CopyHardlink: names of one file stay names of one file`() throws {
        let scratch = try TemporaryDirectory()
        let source = try scratch.directory("source")
        try TreeBuilder.make(source) { tree in
            try tree.file("file1", "first")
            try tree.link("file2", to: "file1")
        }
        let target = try scratch.directory("target")
        _ = try Self.copy(source, to: target)
        let copied = try TreeSnapshot(target)
        #expect(copied["file1"]?.inode == copied["file2"]?.inode)
        #expect(try copied["file1"]?.inode != TreeSnapshot(source)["file1"]?.inode)
    }

    @Test func `CopyWithoutRange: contents that the kernel cannot copy are read and written`() throws {
        // Neither is possible between two file systems.
        let source = try TemporaryDirectory(in: "/dev/shm")
        let target = try TemporaryDirectory()
        let bytes = pattern(9, count: 5_000_000)
        try TreeBuilder.make(source.path) { tree in
            for index in 0..<10 { try tree.file("f\(index)", bytes: bytes) }
        }
        for usesRing in [false, true] {
            let directory = try target.directory("copy\(usesRing)")
            let report = try Self.copy(source.path, to: directory) { $0.io = usesRing ? .ring : .sync }
            #expect(report.contentBytes == 50_000_000 && report.clones == 0)
            for index in 0..<10 { #expect(try readFile(directory + "/f\(index)") == bytes) }
        }
    }

    /// Every way to the same copy: from one file system to another, with files of many sizes, holes, links and attributes.
    @Test(arguments: [IOMode.sync, .auto, .ring], [1, 2, 5]) func `copies through a ring equal those by plain calls`(
        _ io: IOMode, workers: Int
    ) throws {
        let scratch = try TemporaryDirectory(in: "/dev/shm")
        let other = try TemporaryDirectory()
        for seed in 1...3 {
            let source = try scratch.directory("source\(seed)")
            var tree = RandomTree(source, seed: UInt64(seed))
            tree.change(200)
            let builder = try TreeBuilder(source)
            try builder.directory("many")
            for index in 0..<300 {
                try builder.file("many/f\(index)", bytes: pattern(index, count: index * 977))
                if index % 9 == 0 { try builder.attribute("many/f\(index)", "user.mine", "\(index)") }
            }
            try builder.file("many/zeros", bytes: [UInt8](repeating: 0, count: 200_000))
            try builder.link("many/second", to: "many/f3")
            let target = try other.directory("target\(seed)")
            let report = try Self.copy(source, to: target) {
                $0.attributes = .all
                $0.io = io
                $0.workers = workers
            }
            let (original, copied) = (try TreeSnapshot(source), try TreeSnapshot(target))
            #expect(copied.differences(from: original) == [], "seed \(seed)")
            if io == .ring { #expect(report.filesAhead > 200 && report.io.batchedStats > 300) }
            if io == .sync { #expect(report.filesAhead == 0 && report.io.ringSubmissions == 0) }
            #expect(try #require(copied["many/zeros"]).blocks < 100)
        }
    }

    @Test func `files that say they are larger than they are end the copy of their contents, not hang it`() throws {
        // sysfs says 4,096 bytes of every attribute.
        let target = try TemporaryDirectory()
        let source = "/sys/devices/system/cpu/cpu0/topology"
        let report = try Self.copy(source, to: target.path)
        #expect(report.files > 0 && report.contentBytes < UInt64(report.files) * 4096)
        #expect(try readFile(target.path + "/core_id") == readFile(source + "/core_id"))
    }

    @Test func `directories that are there are kept, files are not overwritten`() throws {
        let scratch = try TemporaryDirectory()
        let source = try scratch.directory("source", mode: 0o711)
        let target = try scratch.directory("target", mode: 0o2777)
        try TreeBuilder.make(source) { tree in
            try tree.directory("d", 0o751, uid: 3, gid: 4)
            try tree.file("d/new", "n", uid: 0, gid: 0)
        }
        try TreeBuilder.make(target) { tree in
            try tree.directory("d", 0o700, uid: 9, gid: 9)
            try tree.file("d/old", "o")
        }
        chown(target, 0, 12)
        chmod(target, 0o2777)
        chmod(source, 0o711)
        _ = try Self.copy(source, to: target)
        let copied = try TreeSnapshot(target)
        #expect(copied.paths == ["d/", "d/new", "d/old"])
        #expect(copied["d"]?.mode == 0o751 && copied["d"]?.uid == 3 && copied["d"]?.gid == 4)
        #expect(copied["d/new"]?.gid == 0, "the group of the target's root was inherited")
        #expect(copied["."]?.mode == 0o711 && copied["."]?.gid == 0)
        #expect { try Self.copy(source, to: target) } throws: { error in
            let error = error as? LayerError
            return error?.code == .alreadyExists && error?.path == PathBytes(source + "/d/new")
        }
        #expect(try readFile(target + "/d/new") == Array("n".utf8))
    }

    @Test func `the root's metadata stay where they are not wanted`() throws {
        let scratch = try TemporaryDirectory()
        let source = try scratch.directory("source", mode: 0o711)
        let target = try scratch.directory("target", mode: 0o750)
        _ = try Self.copy(source, to: target) { $0.copiesRootMetadata = false }
        #expect(try TreeSnapshot(target)["."]?.mode == 0o750)
        _ = try Self.copy(source, to: target)
        #expect(try TreeSnapshot(target)["."]?.mode == 0o711)
    }

    @Test func `access lists of the target's root are not inherited`() throws {
        let scratch = try TemporaryDirectory()
        try Self.makeTree(scratch.path + "/source")
        let target = try scratch.directory("target")
        // Version 2; user::rwx, group::r-x, group 5:rwx, mask::rwx, other::---.
        let list: [UInt8] =
            [2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 4, 0, 5, 0, 255, 255, 255, 255, 8, 0, 7, 0, 5, 0, 0, 0]
            + [16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255]
        try TreeBuilder(target).attribute(".", "system.posix_acl_default", list)
        let label = "system.posix_acl_default"
        _ = try Self.copy(scratch.path + "/source", to: target) {
            ($0.attributes, $0.copiesRootMetadata) = (.all, false)
        }
        #expect(try TreeSnapshot(target)["."]?.attributes[label] == list, "the root lost its own")
        try TreeRemoval.removeContents(of: TestSupport.openPath(target))
        _ = try Self.copy(scratch.path + "/source", to: target) { $0.attributes = .all }
        let original = try TreeSnapshot(scratch.path + "/source")
        #expect(try TreeSnapshot(target).differences(from: original) == [])
    }
}
