import Glibc

/// One tree, many ways: a tree made from a seed is exported by many ways, and each must give the tar that the reference gives.
struct WaysNet {
    static let name = "ways"
    let bench: Bench
    let seed: UInt64
    private let kind: String
    private let tree: String
    private let out: String
    private var numbers: Numbers
    /// Runs that did not end.
    private var endless = 0

    init(_ bench: Bench, seed: UInt64) throws {
        self.bench = bench
        self.seed = seed
        numbers = Numbers(seed)
        kind = numbers.pick(["ext4", "ext4", "ext4", "xfs"])
        let top = try bench.ground.fileSystem(kind)
        tree = "\(top)/tree-\(seed)"
        out = "\(bench.ground.out)/ways"
        for path in [tree, out, "\(top)/empty"] { try Ground.directory(path) }
    }

    /// Makes the tree and runs the ways; everything is removed again.
    mutating func run() throws {
        // One after the other, so that a few seeds in a row meet every family.
        let family = Family.allCases[Int(seed % UInt64(Family.allCases.count))]
        try TreeMaker(numbers.branch(), bench.scale).make(family, in: Folder(tree))
        bench.report.trees += 1
        var references: Set<Profile> = []
        let caches: [Cache] = bench.scale == .short ? [.cold, .half, .warm] : Cache.allCases
        var ways = Way.always
        // As Docker does, unpacking takes times before 1970 for 1970.
        let hasEarlyTimes = try TreeListing(tree).entries.values.contains { $0.seconds < 0 }
        let drivers: [String?] = hasEarlyTimes ? [nil] : StoreOfWays.drivers
        for _ in 0..<(bench.scale == .short ? 3 : 25) {
            ways.append(Way(&numbers, caches, drivers, hasFaults: bench.takesRingFaults))
        }
        // Each run that does not end takes its whole limit; two of a tree are enough to see.
        for way in ways where endless < 2 && !bench.isOver {
            let reference = "\(out)/reference-\(way.profile.rawValue).tar"
            if references.insert(way.profile).inserted { try ReferenceTar.write(tree, to: reference, way.profile) }
            bench.report.runs += 1
            guard let wrong = try export(way, reference) else { continue }
            bench.report.find(
                "ways seed \(seed), \(family.rawValue) on \(kind), \(way): \(wrong)",
                repeatedBy: bench.command(Self.name, seed))
            bench.keep(reference, as: "ways-\(seed)-reference.tar")
            bench.keep("\(out)/layer", as: "ways-\(seed)-layer")
        }
        try tool("rm", "-rf", tree, out)
    }

    /// Exports the tree by one way; what is wrong with the result.
    private mutating func export(_ way: Way, _ reference: String) throws -> String? {
        let store = try way.driver.flatMap { driver throws in
            try StoreOfWays(bench, driver, above: tree, layer: reference)
        }
        if way.driver != nil, store == nil {
            bench.report.count("attributes that no store had room for")
            return nil
        }
        defer { store?.remove() }
        try bench.ground.prepare(store?.contents ?? tree, way.cache, on: kind, &numbers)
        let slow = way.readsPerSecond.flatMap { reads in
            bench.ground.deviceNumber(kind).flatMap { SlowDisk($0, readsPerSecond: reads) }
        }
        let layer = "\(out)/layer"
        let split = "\(out)/split"
        for path in [layer, split] { unlink(path) }
        let what = store?.words ?? ["diff", tree]
        var words = [bench.program] + what + ["--io", way.io, "--compress", way.compression, "--json"]
        if let workers = way.workers { words += ["--workers", "\(workers)"] }
        if let level = way.level { words += ["--level", "\(level)"] }
        if way.digest { words.append("--digest") }
        if way.tarSplit { words += ["--tar-split", split] }
        if way.profile != .full { words += ["--profile", way.profile.rawValue] }
        switch way.source {
        case .tree: break
        case .beside: words += ["--lower", "\(Ground.top)/\(kind)/empty"]
        case .overlay: words += ["--dialect", "overlay"]
        }
        words += ["-o", way.output == .file ? layer : "-"]
        var run = Run(words)
        run.descriptors = way.descriptors
        run.group = slow?.group
        if let faults = way.faults { run.environment["LDIFF_RING_FAULTS"] = faults }
        run.limit = bench.scale == .short ? 20 : 90
        var report = ""
        let wrong = try way.output == .file ? toFile(run, &report) : toPipe(run, way, layer, &report)
        if let wrong { return wrong }
        return try verify(way, layer, split, reference, report)
    }

    private mutating func toFile(_ run: Run, _ report: inout String) throws -> String? {
        var run = run
        run.output = .pipe
        var bytes: Name = []
        let ending = try run { bytes += $0 }
        report = String(decoding: bytes, as: UTF8.self)
        return failure(ending)
    }

    private mutating func failure(_ ending: Ending) -> String? {
        if ending.tookTooLong { endless += 1 }
        return ending.status == 0 ? nil : "\(ending)"
    }

    /// Takes the layer from a pipe; from a slow one with pauses of all lengths, so that the program has to wait for us.
    private mutating func toPipe(_ run: Run, _ way: Way, _ layer: String, _ report: inout String) throws -> String? {
        var run = run
        run.output = .pipe
        run.pipeBytes = way.output == .slowPipe ? numbers.pick([4096, 65_536]) : nil
        let file = open(layer, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard file >= 0 else { throw Trouble.call("create", layer) }
        defer { close(file) }
        var (pauses, random) = (200, numbers.branch())
        let ending = try run { bytes in
            if way.output == .slowPipe, pauses > 0, random.isTrue(oneIn: 4) {
                pauses -= 1
                usleep(UInt32(random.pick([100, 1000, 5000, 20_000])))
            }
            try writeAll(bytes, to: file)
        }
        report = ending.errors
        return failure(ending)
    }

    /// Compares the layer, its digests and what tar-split makes of it with the reference.
    private func verify(_ way: Way, _ layer: String, _ split: String, _ reference: String, _ report: String) throws
        -> String?
    {
        switch way.compression {
        case "none": if let wrong = try difference(of: layer, from: reference) { return wrong }
        default:
            var unpack = Run(way.compression == "gzip" ? ["gzip", "-dc"] : ["zstd", "-dcq"])
            unpack.input = layer
            unpack.limit = 120
            if let wrong = try compared(unpack, reference) { return "unpacked with \(way.compression), \(wrong)" }
        }
        if way.digest {
            let sum = try tool("sha256sum", reference).prefix(64)
            if !report.contains("\"diffID\":\"sha256:\(sum)\"") {
                return "the DiffID is not \(sum): \(report.prefix(400))"
            }
            let own = try tool("sha256sum", layer).prefix(64)
            if way.compression != "none", !report.contains("\"digest\":\"sha256:\(own)\"") {
                return "the digest is not \(own): \(report.prefix(400))"
            }
        }
        if way.tarSplit, way.driver == nil {
            let assemble = Run([bench.program, "assemble", split, tree, "-o", "-", "--quiet"])
            if let wrong = try compared(assemble, reference) { return "assembled from tar-split, \(wrong)" }
        }
        return nil
    }

    /// Runs a program whose output must be the reference.
    private func compared(_ run: Run, _ reference: String) throws -> String? {
        var run = run
        run.output = .pipe
        let comparison = try StreamComparison(with: reference)
        let ending = try run { comparison.take($0) }
        return ending.status == 0 ? comparison.verdict : "\(ending)"
    }
}
