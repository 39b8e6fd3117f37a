import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// Random layers against a model in plain code: what a tree becomes, what the kernel shows of upper directories, and what
/// the readers of the other dialects find in theirs.
///
/// `LDIFF_SEED` tries one seed only, `LDIFF_SEED_FACTOR` so many times as many.
@Suite struct ApplyModelTests {
    private static let workers = [1, 2, 5, 16]
    private static let pieceSizes = [512, 10_000, SlabSourceDefaults.payload]

    /// Layers of one seed and what each makes of the ones before; the last may be refused.
    private struct History {
        var layers: [[TarPiece]] = []
        var results: [TreeSnapshot] = []
        var refusal: SequentialModel.Refusal?
        let seed: UInt64

        init(
            seed: UInt64, layers count: Int, longNames: Bool = true, _ sharing: SequentialModel.Sharing = .none
        ) {
            self.seed = seed
            var random = RandomLayers(seed: seed)
            random.hasLongNames = longNames
            var model = SequentialModel(sharing)
            for number in 0..<count {
                let (pieces, refusal) = random.layer(on: &model, isBottom: number == 0)
                layers.append(pieces)
                self.refusal = refusal
                if refusal != nil { return }
                results.append(model.snapshot)
            }
        }

        func describe(_ number: Int) -> String {
            let lines = layers[...number].map { pieces in
                pieces.map {
                    let name = ApplyModelTests.shortened(String(decoding: $0.name, as: UTF8.self))
                    let link = $0.link.isEmpty ? "" : ">" + String(decoding: $0.link, as: UTF8.self)
                    return "\(Character(Unicode.Scalar($0.type))) \(name)\(link)"
                }.joined(separator: ", ")
            }
            return "seed \(seed), layer \(number)\n" + lines.joined(separator: "\n")
        }
    }

    private static func seeds(_ count: UInt64) -> [UInt64] {
        func setting(_ name: String) -> UInt64? { getenv(name).flatMap { UInt64(String(cString: $0)) } }
        if let only = setting("LDIFF_SEED") { return [only] }
        return Array(0..<count * (setting("LDIFF_SEED_FACTOR") ?? 1))
    }

    private static func options(_ seed: UInt64) -> ApplyOptions {
        var options = ApplyOptions()
        options.workers = workers[Int(seed) % workers.count]
        options.sparse = seed % 5 == 0 ? .never : .auto
        return options
    }

    /// What differs, directories that were only made for a path without their times.
    private static func differences(_ found: TreeSnapshot, _ expected: TreeSnapshot, links: Bool) -> [String] {
        var (found, expected) = (found, expected)
        for (path, entry) in expected.entries where entry.kind == .directory && entry.seconds == 0 {
            found.entries[path]?.seconds = 0
            found.entries[path]?.nanoseconds = 0
        }
        if !links {
            for path in found.entries.keys { found.entries[path]?.firstPath = path }
            for path in expected.entries.keys { expected.entries[path]?.firstPath = path }
        }
        let paths = Set(found.entries.keys).union(expected.entries.keys).sorted()
        return paths.compactMap { path in
            guard let left = found[path], let right = expected[path] else {
                return shortened(path) + (found[path] == nil ? " is missing" : " is there")
            }
            return left == right ? nil : shortened(path) + ": \(text(left)) instead of \(text(right))"
        }
    }

    private static func text(_ entry: TreeSnapshot.Entry) -> String {
        "\(entry.kind) \(String(entry.mode, radix: 8)) \(entry.uid):\(entry.gid) \(entry.seconds) first \(shortened(entry.firstPath)) "
            + "\(entry.content.count) bytes \(shortened(String(entry.text.prefix(20)))) \(entry.attributes)"
    }

    private static func shortened(_ path: String) -> String {
        path.replacing(/n{50,}/) { "n\($0.output.count)" }
    }

    /// Applies layer `number`; false where it was refused, as it must be.
    private static func apply(
        _ history: History, _ number: Int, to path: String, _ options: ApplyOptions
    ) throws -> Bool {
        let size = pieceSizes[Int(history.seed / 4) % pieceSizes.count]
        let bytes = Tar.archive(history.layers[number])
        let isRefused = number == history.results.count
        do {
            try LayerEngineTests.apply(bytes, to: path, options, pieceSize: size)
            if isRefused { throw TestFailure("what must be refused was applied\n" + history.describe(number)) }
            return true
        } catch let error as LayerError {
            guard isRefused, error.code == history.refusal?.code else {
                throw TestFailure("\(error)\n" + history.describe(number))
            }
            return false
        }
    }

    /// Alone, or beside a copy by hard links, of which nothing may change.
    @Test(arguments: [false, true])
    func `a tree becomes what one entry after the other makes of it`(hasCopy: Bool) throws {
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        for seed in Self.seeds(150) {
            let history = History(seed: seed, layers: 4, hasCopy ? .otherTree : .none)
            let root = memory.path + "/\(seed)"
            mkdir(root, 0o755)
            for number in history.layers.indices {
                let copy = root + "-copy\(number)"
                if hasCopy { try linkTree(root, to: copy) }
                let before = hasCopy ? try TreeSnapshot(copy) : nil
                let isApplied = try Self.apply(history, number, to: root, Self.options(seed))
                if let before {
                    let changes = try TreeSnapshot(copy).differences(from: before)
                    try #require(changes == [], "of the copy: \(changes)\n\(history.describe(number))")
                }
                guard isApplied else { break }
                let found = Self.differences(
                    try TreeSnapshot(root, ignoring: .root), history.results[number], links: true)
                try #require(found == [], "\(found.joined(separator: "\n"))\n\(history.describe(number))")
            }
        }
    }

    @Test(arguments: [false, true])
    func `the kernel shows of upper directories what the layers make of the tree`(oneUpper: Bool) throws {
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        for seed in Self.seeds(100) {
            let history = History(seed: 10_000 + seed, layers: 4, .overlay(upper: oneUpper ? 1 : nil))
            let root = memory.path + "/\(seed)"
            mkdir(root, 0o755)
            mkdir(root + "/empty", 0o755)
            var lowers: [String] = []
            for number in history.layers.indices {
                var options = Self.options(seed)
                options.dialect = .overlay
                // A second layer in one upper directory, or each in one of its own.
                let joins = oneUpper && number >= 2
                let upper = joins ? lowers.removeFirst() : root + "/\(number)"
                mkdir(upper, 0o755)
                options.lowers = lowers.map { PathBytes($0) }
                guard try Self.apply(history, number, to: upper, options) else { break }
                lowers.insert(upper, at: 0)
                let view = try Mount.overlay(
                    OverlayOptions(), lowers: lowers + [root + "/empty"], at: root + "/view")
                let found = Self.differences(
                    try TreeSnapshot(view.path, ignoring: [.root, .overlayAttributes]), history.results[number],
                    links: false)
                try view.unmount()
                try #require(found == [], "\(found.joined(separator: "\n"))\n\(history.describe(number))")
            }
        }
    }

    /// And what an upper directory says, applied to an empty one, is said by that in the same bytes.
    @Test(arguments: [WhiteoutDialect.Name.aufs, .fuseOverlayFS, .overlay])
    func `upper directories of every dialect say what the layers make of the tree`(
        dialect: WhiteoutDialect.Name
    ) throws {
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        for seed in Self.seeds(60) {
            let history = History(
                seed: 20_000 + seed, layers: 3, longNames: dialect != .aufs, .overlay(upper: 1))
            let root = memory.path + "/\(seed)"
            let (lower, upper) = (root + "/lower", root + "/upper")
            for directory in [root, lower, upper] { mkdir(directory, 0o755) }
            var options = Self.options(seed)
            guard try Self.apply(history, 0, to: lower, options) else { continue }
            options.dialect = WhiteoutDialect(dialect)
            options.lowers = [PathBytes(lower)]
            for number in 1..<history.layers.count {
                guard try Self.apply(history, number, to: upper, options) else { break }
                let difference = try layer(source(upper, lowers: [lower], WhiteoutDialect(dialect)))
                let copy = root + "/copy\(number)"
                try copyTree(lower, to: copy)
                try LayerEngineTests.apply(difference, to: copy)
                let found = Self.differences(
                    try TreeSnapshot(copy, ignoring: .root), history.results[number], links: false)
                try #require(found == [], "\(found.joined(separator: "\n"))\n\(history.describe(number))")
                let again = root + "/again\(number)"
                mkdir(again, 0o755)
                try LayerEngineTests.apply(difference, to: again, options)
                let repeated = try layer(source(again, lowers: [lower], WhiteoutDialect(dialect)))
                let lines = try texts(difference) + ["instead:"] + texts(repeated)
                try #require(
                    repeated == difference,
                    "in other bytes: \(lines.joined(separator: ", "))\n\(history.describe(number))")
            }
        }
    }

    /// Programs that write archives of a tree, and how.
    static let writers: [[String]] = [
        ["tar", "--format=pax", "--acls", "--xattrs", "--xattrs-include=*", "--sparse", "--sparse-version=1.0"],
        ["tar", "--format=pax", "--acls", "--xattrs", "--xattrs-include=*", "--sparse", "--sparse-version=0.1"],
        ["tar", "--format=gnu", "--sparse"], ["bsdtar", "--format=pax", "--acls", "--xattrs", "--no-read-sparse"],
        ["python3"],
    ]

    private static let python = """
        import sys, tarfile
        with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            archive.add(sys.argv[1], arcname=".")
        """

    @Test(arguments: writers) func `archives of other programs become the tree that they were made of`(
        _ words: [String]
    ) throws {
        let scratch = try TemporaryDirectory()
        for seed in Self.seeds(6) {
            let origin = scratch.path + "/origin\(seed)"
            mkdir(origin, 0o755)
            let history = History(seed: 30_000 + seed, layers: 2)
            for number in history.results.indices {
                _ = try Self.apply(history, number, to: origin, Self.options(seed))
            }
            let command =
                words == ["python3"]
                ? ["/usr/bin/python3", "-c", Self.python, origin] : words + ["-C", origin, "-cf", "-", "."]
            let written = try runProgram(command)
            try #require(written.status == 0, "\(written.errors)")
            let root = scratch.path + "/root\(seed)"
            mkdir(root, 0o755)
            try LayerEngineTests.apply(written.output, to: root, Self.options(seed))
            let keeps = words.contains("--acls")
            func portable(_ path: String) throws -> TreeSnapshot {
                var tree = try TreeSnapshot(path, ignoring: .root)
                for (path, var entry) in tree.entries {
                    // Only some of them keep fractions of seconds and attributes.
                    entry.nanoseconds = 0
                    if !keeps {
                        // What stands for the mask in the mode is the mode's own without the list.
                        entry.attributes = [:]
                    }
                    tree.entries[path] = entry
                }
                return tree
            }
            let found = try portable(root).differences(from: portable(origin))
            try #require(found == [], "\(words), seed \(seed)\n\(found.joined(separator: "\n"))")
        }
    }
}
