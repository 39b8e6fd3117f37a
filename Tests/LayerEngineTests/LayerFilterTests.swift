import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// Filters against a model in plain code, and every way against every other.
@Suite struct LayerFilterTests {
    private static let plans = [
        OverlayOptions(), OverlayOptions(redirectDirectories: true, metacopy: true),
        OverlayOptions(userAttributes: true),
    ]

    private static func seeds(_ count: UInt64) -> [UInt64] {
        func setting(_ name: String) -> UInt64? { getenv(name).flatMap { UInt64(String(cString: $0)) } }
        if let only = setting("LDIFF_SEED") { return [only] }
        return Array(0..<count * (setting("LDIFF_SEED_FACTOR") ?? 1))
    }

    /// What a filter says of an entry of a layer.
    private static func keeps(_ entry: ListedEntry, _ model: FilterModel) -> Bool {
        var path = entry.name
        if path.last == UInt8(ascii: "/") { path.removeLast() }
        let start = path.lastIndex(of: UInt8(ascii: "/")).map { $0 + 1 } ?? 0
        let base = Array(path[start...])
        if base == Array(".wh..wh..opq".utf8) {
            return start == 0 || model.keeps(Array(path[..<(start - 1)]), mayLead: true)
        }
        let isDeletion = base.starts(with: Array(".wh.".utf8))
        if isDeletion { path.removeSubrange(start..<start + 4) }
        return model.keeps(path, mayLead: isDeletion || entry.type == "5")
    }

    /// The texts of a layer's entries with what they hold, of those that stay; contents go to the first name that does.
    private static func expected(_ bytes: [UInt8], _ model: FilterModel) throws -> [String] {
        let all = try listed(bytes)
        var bodies: [[UInt8]: [UInt8]] = [:]
        var carriers: [[UInt8]: [UInt8]] = [:]
        var result: [String] = []
        for entry in all {
            if entry.type == "0" { bodies[entry.name] = entry.body }
            guard keeps(entry, model) else { continue }
            var entry = entry
            if entry.type == "1" {
                let first = entry.link
                if let carrier = carriers[first] {
                    entry.link = carrier
                } else {
                    carriers[first] = entry.name
                    if let body = bodies[first] {
                        entry.type = "0"
                        entry.body = body
                    } else if let kind = all.first(where: { $0.name == first }) {
                        (entry.type, entry.link) = (kind.type, kind.link)
                        (entry.major, entry.minor) = (kind.major, kind.minor)
                    }
                }
            } else {
                carriers[entry.name] = entry.name
            }
            result.append(text(entry))
        }
        return result
    }

    private static func text(_ entry: ListedEntry) -> String { "\(entry.text) \(escapedText(entry.body))" }

    @Test("A filtered layer is the layer without what the filter leaves out, whoever writes it", arguments: plans)
    func layers(_ options: OverlayOptions) throws {
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        for seed in Self.seeds(15) {
            let stack = try RandomStack(memory.path + "/\(seed)", seed: seed, lowers: 2, options, length: 60)
            var random = SeededNumbers(seed: seed)
            for round in 0..<4 {
                let model = FilterModel(&random)
                let filter = try model.filter()
                for plain in [stack.asUpper, source(stack.merged, workers: 1)] {
                    var filtered = plain
                    filtered.filter = filter
                    let bytes = try layer(filtered)
                    let (found, wanted) = (try listed(bytes).map(Self.text), try Self.expected(layer(plain), model))
                    #expect(
                        found == wanted,
                        "seed \(seed), round \(round), \(filter.include) \(filter.exclude) \(model.vetoes)")
                    for (workers, io) in [(4, IOMode.sync), (1, .ring), (3, .ring)] {
                        (filtered.workers, filtered.io) = (workers, io)
                        #expect(try layer(filtered) == bytes, "seed \(seed), round \(round), \(workers) \(io)")
                    }
                    guard round < 2 else { continue }
                    try Self.compareSizes(plain, filtered, model, memory.path + "/\(seed)-\(round)")
                }
            }
            try stack.remove()
        }
    }

    /// The size is that of a tree from which everything else was removed.
    private static func compareSizes(
        _ plain: SourceOptions, _ filtered: SourceOptions, _ model: FilterModel, _ path: String
    ) throws {
        var one = plain
        let copy = path + "-copy"
        try copyTree(plain.upper.description, to: copy)
        defer { _ = try? runProgram(["rm", "-rf", copy]) }
        func remove(_ inside: [UInt8]) throws {
            let here = Array(copy.utf8) + (inside.isEmpty ? [] : [UInt8(ascii: "/")] + inside)
            let stream = try #require(opendir(here.map { CChar(bitPattern: $0) } + [0]))
            var names: [[UInt8]] = []
            while let entry = readdir(stream) {
                names.append(withUnsafeBytes(of: entry.pointee.d_name) { $0.prefix { $0 != 0 }.map { $0 } })
            }
            closedir(stream)
            for name in names where name != [46] && name != [46, 46] {
                let child = inside + (inside.isEmpty ? [] : [UInt8(ascii: "/")]) + name
                let full = (here + [UInt8(ascii: "/")] + name).map { CChar(bitPattern: $0) } + [0]
                var status = stat()
                lstat(full, &status)
                let isDirectory = status.st_mode & S_IFMT == S_IFDIR
                let isWhiteout =
                    plain.dialect.name != .tree && status.st_mode & S_IFMT == S_IFCHR && status.st_rdev == 0
                if !model.keeps(child, mayLead: isDirectory || isWhiteout) {
                    let text = String(decoding: full.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
                    try #require(try runProgram(["rm", "-rf", "--", text]).status == 0)
                } else if isDirectory {
                    try remove(child)
                }
            }
        }
        // Programs take names that are text only.
        guard try hasTextNames(copy) else { return }
        try remove([])
        one.upper = PathBytes(copy)
        let (left, right) = (try DiffEngine.size(one), try DiffEngine.size(filtered))
        #expect(left.bytes == right.bytes && left.entries == right.entries && left.inodes == right.inodes, "\(path)")
    }

    private static func hasTextNames(_ path: String) throws -> Bool {
        let found = try runProgram(["find", path, "-print0"])
        return String(validating: found.output, as: UTF8.self) != nil
    }

    @Test("Filtered changes of an upper directory and of trees are alike, and those of the model", arguments: plans)
    func changesAgree(_ options: OverlayOptions) throws {
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        for seed in Self.seeds(40) {
            let stack = try RandomStack(memory.path + "/\(seed)", seed: seed, lowers: 2, options, length: 60)
            let (before, after) = (
                try TreeSnapshot(stack.base, ignoring: .overlayAttributes),
                try TreeSnapshot(stack.merged, ignoring: .overlayAttributes)
            )
            var random = SeededNumbers(seed: seed)
            for round in 0..<6 {
                let model = FilterModel(&random)
                let filter = try model.filter()
                let note = Comment(
                    rawValue: "seed \(seed), round \(round), \(filter.include) \(filter.exclude) \(model.vetoes)")
                var (upper, trees) = (stack.asUpper, stack.asTrees)
                let wanted = try Self.expectedChanges(trees, model, before, after)
                (upper.filter, trees.filter) = (filter, filter)
                #expect(try changes(upper) == wanted, note)
                #expect(try changes(trees) == wanted, note)
                for source in [upper, trees] {
                    var faster = source
                    faster.workers = 4
                    #expect(try changes(faster) == wanted, note)
                }
                // What the layer of two trees has is what is listed, but for sockets.
                let names = try listed(try layer(trees)).map { entry in
                    let name = String(escapedText(entry.name).split(separator: "/").joined(separator: "/"))
                    return name.split(separator: "/").last?.hasPrefix(".wh.") == true
                        ? "D /" + name.replacing(".wh.", with: "") : "/" + name
                }
                let listedNames = wanted.map { $0.hasPrefix("D") ? $0 : String($0.dropFirst(2)) }
                func withoutSockets(_ names: [String]) -> Set<String> {
                    Set(names).filter { line in
                        let path = line.split(separator: "/", maxSplits: 1).last.map(String.init) ?? ""
                        return after.entries[path]?.kind != .socket
                    }
                }
                #expect(withoutSockets(names) == withoutSockets(listedNames), note)
            }
            try stack.remove()
        }
    }

    /// Directories that are listed only for what changed in them are not where all of that is left out.
    private static func expectedChanges(
        _ trees: SourceOptions, _ model: FilterModel, _ before: TreeSnapshot, _ after: TreeSnapshot
    ) throws -> [String] {
        var paths: [(kind: UInt8, path: [UInt8])] = []
        _ = try DiffEngine.changes(trees) { (kind, path) throws(LayerError) in
            paths.append((kind.letter, Array(path.copied().dropFirst())))
        }
        func isDirectory(_ path: [UInt8]) -> Bool { after.entries[snapshotKey(path)]?.kind == .directory }
        var kept = paths.filter { model.keeps($0.path, mayLead: $0.kind == UInt8(ascii: "D") || isDirectory($0.path)) }
        for index in kept.indices.reversed() where kept[index].kind == UInt8(ascii: "C") {
            let path = kept[index].path
            guard isDirectory(path), var old = before.entries[snapshotKey(path)], old.kind == .directory,
                let new = after.entries[snapshotKey(path)]
            else { continue }
            (old.seconds, old.nanoseconds) = (new.seconds, new.nanoseconds)
            let below = path + [UInt8(ascii: "/")]
            if old == new, !kept.contains(where: { $0.path.starts(with: below) }) { kept.remove(at: index) }
        }
        return kept.map { "\(String(UnicodeScalar($0.kind))) /\(escapedText($0.path))" }
    }
}
