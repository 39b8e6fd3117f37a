import Glibc
import LayerEngine
import LayerModel
import LinuxIO
import TestSupport
import Testing

/// Layers that are unpacked before those below them, and settled upon them afterwards, against the same layers one after the other.
@Suite struct StagedApplyTests {
    /// Layers in upper directories, unpacked both ways.
    private struct Stack {
        let root: String
        let dialect: WhiteoutDialect.Name
        var lowers: [String] = []
        var settled = 0
        var redone = 0

        init(_ root: String, _ dialect: WhiteoutDialect.Name) {
            self.root = root
            self.dialect = dialect
            mkdir(root, 0o755)
        }

        private func options(_ lowers: [String]?) -> ApplyOptions {
            var options = ApplyOptions()
            options.dialect = WhiteoutDialect(dialect)
            options.lowers = lowers.map { $0.map { PathBytes($0) } }
            options.workers = 2
            return options
        }

        /// One layer more; false where it is refused. The report of the settled one must be that of the other.
        mutating func add(_ pieces: [TarPiece], _ why: String) throws -> Bool {
            let bytes = Tar.archive(pieces)
            let upper = root + "/\(lowers.count)"
            mkdir(upper, 0o755)
            let sequential: ApplyReport
            do {
                sequential = try LayerEngineTests.apply(bytes, to: upper, options(lowers))
            } catch let error as LayerError {
                // Staged it may fail in another way, and may not be settled.
                if let report = try? staged(bytes) { throw TestFailure("\(error), and \(report) when staged\n\(why)") }
                return false
            }
            if !lowers.isEmpty {
                // An error may be that of not knowing the lower directories.
                if let report = try? staged(bytes) {
                    settled += 1
                    let (found, expected) = (try snapshot(root + "/staged"), try snapshot(upper))
                    let differences = found.differences(from: expected)
                    try #require(differences == [], "\(differences.joined(separator: "\n"))\n\(why)")
                    try #require(report.presentEntries == sequential.presentEntries, "\(why)")
                    try #require(report.uniqueFileBytes == sequential.uniqueFileBytes, "\(why)")
                    try #require(report.warnings == sequential.warnings, "\(why)")
                } else {
                    redone += 1
                }
                try TreeRemoval.remove(PathBytes(root + "/staged"))
            }
            lowers.insert(upper, at: 0)
            return true
        }

        /// Directories that were only made for a path have the time of their making, and so have marks.
        private func snapshot(_ path: String) throws -> TreeSnapshot {
            var found = try TreeSnapshot(path, ignoring: .root)
            for (path, entry) in found.entries where entry.seconds > 1_750_000_000 {
                found.entries[path]?.seconds = 0
                found.entries[path]?.nanoseconds = 0
            }
            return found
        }

        private func staged(_ bytes: [UInt8]) throws -> ApplyReport? {
            let path = root + "/staged"
            mkdir(path, 0o755)
            let directory = try openPath(path)
            var source = MemorySource(bytes, pieceSize: 10_000)
            let staged = try StagedApply.unpack(&source, root: directory, options: options(nil))
            return try staged.settle(over: lowers.map { PathBytes($0) })
        }
    }

    @Test(arguments: [WhiteoutDialect.Name.overlay, .fuseOverlayFS, .aufs])
    func `random layers become the same whether they wait for each other or not`(dialect: WhiteoutDialect.Name) throws {
        try compare(dialect) { $0 }
        // And without the links, for which a layer has to be unpacked anew.
        try compare(dialect) { pieces in pieces.filter { $0.type != UInt8(ascii: "1") && $0.type != UInt8(ascii: "2") }
        }
    }

    private func compare(_ dialect: WhiteoutDialect.Name, _ change: ([TarPiece]) -> [TarPiece]) throws {
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        var (settled, redone) = (0, 0)
        for seed in UInt64(0)..<150 {
            var random = RandomLayers(seed: 70_000 + seed)
            random.hasLongNames = dialect != .aufs
            var model = SequentialModel()
            var stack = Stack(memory.path + "/\(seed)", dialect)
            for number in 0..<5 {
                let (all, refusal) = random.layer(on: &model, isBottom: number == 0)
                let pieces = change(all)
                let names = pieces.map {
                    "\(Character(Unicode.Scalar($0.type))) \(String(decoding: $0.name, as: UTF8.self))"
                        + ($0.link.isEmpty ? "" : ">" + String(decoding: $0.link, as: UTF8.self))
                }
                let isDone = try stack.add(pieces, "seed \(seed), layer \(number): \(names.joined(separator: ", "))")
                guard isDone, refusal == nil else { break }
            }
            settled += stack.settled
            redone += stack.redone
            try TreeRemoval.remove(PathBytes(stack.root))
        }
        // These layers are full of links into the lower ones; those of real images hardly have any.
        #expect(settled > 70 && redone > 5, "\(settled) settled, \(redone) redone")
    }

    /// What one layer upon another comes to, and whether it can be settled.
    @Test(
        arguments: [
            // whiteouts that hide nothing, and directories made for them alone.
            (
                "deletion: needless", [D("a"), F("a/f")], [W("a/.wh.f"), W("a/.wh.g"), W("b/c/.wh.d"), W("a/x/.wh.y")],
                true
            ),
            ("deletion: and a file", [D("a")], [W("b/.wh.d"), F("b/e")], true),
            ("deletion: below opaque", [D("a"), F("a/b/c")], [D("a"), W("a/.wh..wh..opq"), W("a/b/.wh.c")], true),
            ("deletion: then a directory", [F("z")], [W(".wh.a"), D("a")], false),
            ("deletion: then a directory over one", [D("a"), F("a/x")], [W(".wh.a"), D("a"), F("a/y")], true),
            ("deletion: over a file", [F("a")], [W("a/.wh.b")], false),
            // directories that the archive does not describe.
            (
                "implied: owner, mode, time", [D("a", 0o2750).ids(3, 4).time(77), D("a/b", 0o700).ids(5, 6)],
                [F("a/b/f")],
                true
            ),
            ("implied: attributes", [D("a").xattr("user.k", "v")], [F("a/f"), F("n/m/f")], true),
            ("implied: described later", [D("a", 0o700).xattr("user.k", "v")], [F("a/f"), D("a", 0o711)], true),
            ("implied: made opaque later", [D("a", 0o700).ids(1, 1)], [F("a/f"), W("a/.wh..wh..opq")], true),
            // a path through a link.
            ("path: a link", [D("d"), S("a", "d")], [F("a/f")], false),
            ("path: a link described later", [D("d"), S("a", "d")], [F("a/f"), D("a")], false),
            ("path: a link replaced first", [D("d"), S("a", "d")], [D("a"), F("a/f")], true),
            // hard links to what lies below.
            ("hard: a link down", [F("f")], [H("h", "f")], false),
            ("hard: a link that waits", [F("f")], [H("h", "g"), F("g")], false),
            ("hard: a link within", [F("f")], [F("g"), H("h", "g")], true),
            // the root hidden.
            ("the root is hidden", [D("a"), F("b")], [W(".wh..wh..opq"), D("a"), F("c")], false),
        ] as [(String, [TarPiece], [TarPiece], Bool)])
    func `what the lower directories tell is mended`(
        name: String, below: [TarPiece], above: [TarPiece], isSettled: Bool
    ) throws {
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        var stack = Stack(memory.path + "/s", .overlay)
        #expect(try stack.add(below, name))
        #expect(try stack.add(above, name))
        #expect(stack.settled == (isSettled ? 1 : 0) && stack.redone == (isSettled ? 0 : 1), "\(name)")
        // And as the third of three.
        var deep = Stack(memory.path + "/d", .overlay)
        #expect(try deep.add(below, name))
        #expect(try deep.add([F("unrelated")], name))
        #expect(try deep.add(above, name))
    }

    @Test func `what is wrong in any case is an error when it is staged`() throws {
        let scratch = try TemporaryDirectory()
        let directory = try openPath(scratch.path)
        var source = MemorySource(Tar.archive([F("../x")]), pieceSize: 512)
        var options = ApplyOptions()
        options.dialect = .overlay
        #expect(throws: LayerError.self) {
            _ = try StagedApply.unpack(&source, root: directory, options: options)
        }
    }
}
