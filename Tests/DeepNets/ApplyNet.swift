import Glibc

/// Layers of many programs, unpacked in many ways: a tree made from a seed is archived by other programs and by ldiff, and each
/// archive must become the tree that it was made of, whichever way it is unpacked.
struct ApplyNet {
    static let name = "apply"
    private let bench: Bench
    private let seed: UInt64
    private let kind: String
    private let top: String
    private let out: String
    private var numbers: Numbers
    private var hasEarlyTimes = false
    private var tree: String { top + "/tree" }

    init(_ bench: Bench, seed: UInt64) throws {
        self.bench = bench
        self.seed = seed
        numbers = Numbers(seed ^ 0xa991)
        kind = numbers.pick(["ext4", "ext4", "xfs"])
        top = "\(try bench.ground.fileSystem(kind))/apply-\(seed)"
        out = "\(bench.ground.out)/apply"
        for path in [top, "\(top)/tree", "\(top)/empty", out] { try Ground.directory(path) }
    }

    mutating func run() throws {
        let family = Family.allCases[Int(seed % UInt64(Family.allCases.count))]
        let maker = TreeMaker(numbers.branch(), bench.scale)
        maker.bytesLeft /= 3
        // What fitted beside the attributes of the source may not fit in the order of the archive.
        if kind == "ext4" { maker.largestValue = 100 }
        try maker.make(family, in: Folder(tree))
        bench.report.trees += 1
        let source = try TreeListing(tree)
        hasEarlyTimes = source.entries.values.contains { $0.seconds < 0 }
        var archivers = Archiver.all(bench.program)
        if bench.scale == .short { archivers = [archivers[0]] + numbers.some(Array(archivers.dropFirst()), 2) }
        for archiver in archivers where !bench.isOver {
            let archive = "\(out)/layer.tar"
            if let said = try archiver.make(tree, archive) {
                // A program that cannot say what is in the tree is no finding.
                if archiver.description == "ldiff" { find("\(family.rawValue), ldiff diff: \(said)") }
                bench.report.count("archives that other programs refused")
                continue
            }
            let expected = archiver.unpacked(source)
            for way in ways() where !bench.isOver {
                bench.report.runs += 1
                for wrong in try unpack(archive, way, archiver, expected) {
                    find("\(family.rawValue) on \(kind), archive of \(archiver), \(way): \(wrong)")
                    bench.keep(archive, as: "apply-\(seed).tar")
                }
            }
        }
        try tool("rm", "-rf", top, out)
    }

    private func find(_ what: String) {
        bench.report.find("apply seed \(seed), \(what)", repeatedBy: bench.command(Self.name, seed))
    }

    // MARK: Ways

    struct Way: CustomStringConvertible {
        enum Target: String, CaseIterable {
            case tree, overlay, aufs
            case fuseOverlayfs = "fuse-overlayfs"
            /// A layer of a store of the driver overlay2, looked at through its mount.
            case store
        }
        var target = Target.tree
        var io = "auto"
        var workers = "1"
        var compression = "none"
        var isPiped = false
        var cache = Cache.warm

        var description: String {
            "to \(target.rawValue), io \(io), workers \(workers), \(compression)\(isPiped ? ", from a slow pipe" : "")"
        }
    }

    private mutating func ways() -> [Way] {
        var ways = [Way()]
        for target in Way.Target.allCases.dropFirst() where bench.scale == .long || numbers.isTrue(oneIn: 2) {
            ways.append(Way(target: target, io: "auto", workers: "16"))
        }
        for _ in 0..<(bench.scale == .short ? 1 : 8) {
            ways.append(
                Way(
                    target: numbers.pick(Way.Target.allCases), io: numbers.pick(["auto", "ring", "sync"]),
                    workers: numbers.pick(["1", "2", "5", "16"]), compression: numbers.pick(["none", "gzip", "zstd"]),
                    isPiped: numbers.isTrue(oneIn: 2)))
        }
        return ways
    }

    /// Unpacks an archive by one way; what is wrong with what it became.
    private mutating func unpack(_ archive: String, _ way: Way, _ archiver: Archiver, _ expected: TreeListing) throws
        -> [String]
    {
        let layer = try compressed(archive, way.compression)
        let place = kind == "ext4" ? try bench.ground.freshExt4() : top
        let store = "\(place)/overlay2"
        var words = way.target == .store ? ["layer", "apply", "base"] : ["apply"]
        let target = "\(place)/root"
        words.append(way.isPiped ? "-" : layer)
        words += way.target == .store ? ["--home", store] : [target]
        if way.target != .tree, way.target != .store { words += ["--dialect", way.target.rawValue] }
        words += ["--io", way.io, "--workers", way.workers, "--quiet"]
        var run = Run([bench.program] + words)
        if way.isPiped { run = Self.piped(run, layer) }
        run.limit = bench.scale == .short ? 20 : 90
        let ending = try run()
        defer { if place == top { _ = try? tool("rm", "-rf", target, store) } }
        guard ending.status == 0 else { return ["\(ending)"] }
        var wrong: [String] = []
        if way.target == .store {
            let path = try tool(bench.program, "layer", "mount", "base", "--home", store)
            wrong = try compare(String(path.dropLast()), archiver, expected)
            try tool(bench.program, "layer", "unmount", "base", "--home", store)
            // Times before 1970 have become 1970.
            if archiver.description == "ldiff", !hasEarlyTimes { wrong += try exportedAgain(store, archive) }
        } else {
            wrong = try compare(target, archiver, expected)
            if way.target == .overlay, wrong.isEmpty { wrong = try mounted(target, archiver, expected) }
        }
        return wrong
    }

    /// The same run, fed through a pipe in pieces of odd sizes and with pauses.
    private static func piped(_ run: Run, _ layer: String) -> Run {
        let feeder = """
            import os, random, sys, time
            random.seed(len(sys.argv[1])); pauses = 60
            with open(sys.argv[1], "rb") as file:
                while piece := file.read(random.choice([1, 511, 513, 4097, 65536, 100001])):
                    os.write(1, piece)
                    if pauses and not random.randrange(8):
                        pauses -= 1; time.sleep(random.choice([0.0003, 0.003]))
            """
        let script = "set -o pipefail; python3 -c \"$0\" \"$1\" | \"${@:2}\""
        return Run(["bash", "-c", script, feeder, layer] + run.words)
    }

    private func compressed(_ archive: String, _ compression: String) throws -> String {
        switch compression {
        case "gzip": try tool("sh", "-c", "gzip -1 < \"$0\" > \"$0.gz\"", archive)
        case "zstd": try tool("zstd", "-1qf", archive, "-o", "\(archive).zst")
        default: return archive
        }
        return archive + (compression == "gzip" ? ".gz" : ".zst")
    }

    private func compare(_ path: String, _ archiver: Archiver, _ expected: TreeListing) throws -> [String] {
        let found = try TreeListing(path).mapped { _, entry in
            entry.attributes = archiver.kept(entry)
            return true
        }
        return found.differences(from: expected)
    }

    /// What the kernel shows of the upper directory.
    private func mounted(_ upper: String, _ archiver: Archiver, _ expected: TreeListing) throws -> [String] {
        // On the upper's file system.
        try Ground.directory("\(upper)-work")
        defer { _ = try? tool("rm", "-rf", "\(upper)-work") }
        let options = "lowerdir=\(top)/empty,upperdir=\(upper),workdir=\(upper)-work"
        let point = "\(top)/merged"
        try Ground.directory(point)
        try tool("mount", "-t", "overlay", "-o", options, "nets", point)
        defer { _ = try? tool("umount", point) }
        return try compare(point, archiver, expected).map { "through the mount, \($0)" }
    }

    /// A layer that came out of ldiff goes into a store and comes out again as it was.
    private mutating func exportedAgain(_ store: String, _ archive: String) throws -> [String] {
        let workers = numbers.pick(["1", "2", "16"])
        var run = Run([
            bench.program, "layer", "diff", "base", "--home", store, "-o", "-", "--workers", workers, "--quiet",
        ])
        run.output = .pipe
        let comparison = try StreamComparison(with: archive)
        let ending = try run { comparison.take($0) }
        let wrong = ending.status == 0 ? comparison.verdict : "\(ending)"
        return wrong.map { ["layer diff of the store: \($0)"] } ?? []
    }
}
