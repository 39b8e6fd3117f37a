import Glibc
import TestSupport
import Testing

/// Where our differ makes something else of a layer than containerd's own, on purpose. Each case holds both sides, so that a
/// containerd that changes its mind is noticed, too.
@Suite(.serialized, .timeLimit(.minutes(10))) struct KnownDifferenceTests {
    struct Setting: Sendable, CustomTestStringConvertible {
        var release: ContainerdRelease
        var version: String
        var testDescription: String { version }
    }

    static let settings = [
        Setting(release: .trixie, version: "1.7.24"), Setting(release: .sid, version: "2.1.9"),
    ]

    /// An image that is unpacked by a containerd alone, and by one with our snapshotter and differ.
    private struct Sides {
        let directory: TemporaryDirectory
        let stock: ContainerdDaemon
        let pair: ContainerdPair
        /// The snapshot of the highest layer.
        let top: String
        private let image: String

        init(_ setting: Setting, _ layers: [[UInt8]]) throws {
            directory = try TemporaryDirectory()
            let archive = OCIArchive(
                name: "docker.io/library/known:1", layers: try layers.map { try .init($0, "gzip") })
            image = directory.path + "/image.tar"
            try writeFile(image, archive.bytes)
            stock = try ContainerdDaemon(in: directory.directory("stock"), release: setting.release)
            pair = try ContainerdPair(setting.release, version: setting.version, in: directory)
            top = ContainerdDaemon.chain(archive.layers.map(\.diffID)).last ?? ""
        }

        func importIntoStock() throws -> ProgramResult { try stock.run(["image", "import", image]) }

        func importIntoOurs() throws {
            try pair.containerd("image", "import", "--snapshotter", pair.snapshotter, image)
        }

        /// What the highest layer shows in both.
        func look<Shown>(_ body: (String) throws -> Shown) throws -> (stock: Shown, ours: Shown) {
            guard try importIntoStock().status == 0 else { throw TestFailure("stock refused the image") }
            try importIntoOurs()
            return (
                try stock.inside(top, "overlayfs", in: directory.path, body),
                try pair.containerd.inside(top, pair.snapshotter, in: directory.path, body)
            )
        }

        /// Inodes of the highest layer, as containerd tells them.
        func inodes() throws -> (stock: Int, ours: Int) {
            func count(_ daemon: ContainerdDaemon, _ snapshotter: String) throws -> Int {
                let lines = try daemon("snapshot", "--snapshotter", snapshotter, "usage", "-b", top).lines
                guard let words = lines.last?.split(separator: " "), words.count == 3, let count = Int(words[2]) else {
                    throw TestFailure("no usage: \(lines)")
                }
                return count
            }
            return (try count(stock, "overlayfs"), try count(pair.containerd, pair.snapshotter))
        }

        func stop() throws {
            try pair.stop()
            try stock.stop()
        }
    }

    private static func time(_ path: String) -> Int {
        var status = stat()
        return lstat(path, &status) == 0 ? status.st_mtim.tv_sec : -1
    }

    /// A layer that puts a file into a directory without naming the directory changes nothing of it: it keeps the time that
    /// the lower layer gave it, so that the same image has the same times on every machine. containerd lets the directory have
    /// the time at which the image was unpacked.
    @Test(arguments: settings)
    func `a directory that a layer only implies keeps the lower one's time`(setting: Setting) throws {
        let sides = try Sides(
            setting, [Tar.archive([D("etc/"), F("etc/old", "o")]), Tar.archive([F("etc/new", "n")])])
        let start = Int(Glibc.time(nil))
        let times = try sides.look { Self.time($0 + "/etc") }
        #expect(times.ours == 1_700_000_000)
        #expect(times.stock >= start)
        try sides.stop()
    }

    /// A hard link is one more name and changes nothing of its file. containerd sets the owner of what a header names after it
    /// made the link, and the kernel takes a file's capabilities away when its owner is set: the program loses them.
    @Test(arguments: settings)
    func `a capability survives a hard link to its file`(setting: Setting) throws {
        let capability: [UInt8] = [1, 0, 0, 2, 0, 4, 0, 0] + [UInt8](repeating: 0, count: 12)
        let sides = try Sides(
            setting,
            [
                Tar.archive([
                    F("ping", "p", 0o755).xattr("security.capability", capability), H("ping4", "ping"),
                    F("alone", "p", 0o755).xattr("security.capability", capability),
                ])
            ])
        let found = try sides.look { root in
            let names = ["ping", "ping4", "alone"].map { "\(root)/\($0)" }
            return try runProgram(["getfattr", "-n", "security.capability", "--absolute-names"] + names).lines
                .filter { $0.hasPrefix("# file: ") }.map { String($0.dropFirst("# file: \(root)/".count)) }
        }
        #expect(found.ours == ["ping", "ping4", "alone"])
        #expect(found.stock == ["alone"])
        try sides.stop()
    }

    /// A link to a file that only a lower layer has: that file is copied up and has both names, as `ln` in a container makes
    /// it, and as containers' own tools unpack it. containerd looks for it in the new layer alone and refuses the image.
    @Test(arguments: settings)
    func `a hard link may lead to a file of a lower layer`(setting: Setting) throws {
        let sides = try Sides(setting, [Tar.archive([F("file", "text")]), Tar.archive([H("link", "file")])])
        let refused = try sides.importIntoStock()
        #expect(refused.status != 0, "containerd can do that now")
        try sides.importIntoOurs()
        try sides.pair.containerd.inside(sides.top, sides.pair.snapshotter, in: sides.directory.path) { root in
            var (file, link) = (stat(), stat())
            #expect(lstat(root + "/file", &file) == 0 && lstat(root + "/link", &link) == 0)
            #expect(file.st_ino == link.st_ino && link.st_nlink == 2)
            let text = try readFile(root + "/link")
            #expect(text == Array("text".utf8))
        }
        try sides.stop()
    }

    /// All whiteouts of a layer are one inode with many names, as the kernel makes them when a container deletes files: a
    /// link is cheaper than a device, and there are images of which every sixteenth entry is a whiteout. containerd makes a
    /// device for each, so its Usage tells more inodes, by one less than there are whiteouts. Nothing else differs.
    @Test(arguments: settings)
    func `a layer's whiteouts are one inode, so Usage tells fewer`(setting: Setting) throws {
        let names = (0..<100).map { "d/f\($0)" }
        let others = [D("o/"), W("o/.wh..wh..opq"), F("o/b", "b"), F("n", "n"), H("n2", "n"), F("i/j/k", "k")]
        let sides = try Sides(
            setting,
            [
                Tar.archive([D("d/")] + names.map { F($0, "x") } + [D("o/"), F("o/a", "a")]),
                Tar.archive([D("d/")] + names.map { W("d/.wh." + $0.dropFirst(2)) } + others),
            ])
        #expect(try sides.look { directoryNames($0 + "/d") } == ([], []))
        let inodes = try sides.inodes()
        // The root, d, o, i, j, three files, and the whiteouts.
        #expect(inodes.stock == 8 + 100)
        #expect(inodes.ours == 8 + 1)
        try sides.stop()
    }
}
