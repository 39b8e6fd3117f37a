import Glibc
import LayerEngine
import LayerModel
import TestSupport

/// An upper directory over lower ones, all of them made by random changes through real overlay mounts.
final class RandomStack {
    let path: String
    let options: OverlayOptions
    /// Nearest first.
    private(set) var lowers: [String] = []
    let upper: String
    /// The merged view, and that of the lowers alone.
    let merged: String
    let base: String
    private(set) var log = ""
    private var mounts: [Mount] = []

    /// `finish` may do more to each directory, where no mount can see it.
    init(
        _ path: String, seed: UInt64, lowers count: Int, _ options: OverlayOptions, length: Int = 30,
        finish: (String) throws -> Void = { _ in }
    ) throws {
        self.path = path
        self.options = options
        upper = path + "/upper"
        merged = path + "/merged"
        base = path + (count > 1 ? "/base" : "/lower1")
        guard mkdir(path, 0o755) == 0 else { throw TestFailure("mkdir \(path)") }
        let bottom = path + "/lower1"
        mkdir(bottom, 0o755)
        try change(bottom, seed: seed &* 10, length: length)
        try finish(bottom)
        lowers = [bottom]
        for level in 2..<(count + 1) where count > 1 {
            let next = path + "/lower\(level)"
            try change(next, over: lowers, seed: seed &* 10 &+ UInt64(level), length: length / 2)
            try finish(next)
            lowers.insert(next, at: 0)
        }
        try change(upper, over: lowers, seed: seed &* 10 &+ 9, length: length)
        try finish(upper)
        if count > 1 { mounts.append(try Mount.overlay(options, lowers: lowers, at: base)) }
        mounts.append(try Mount.overlay(options, lowers: [upper] + lowers, at: merged))
    }

    /// Changes a plain directory, or an upper one through a mount of its own.
    private func change(_ directory: String, over lowers: [String] = [], seed: UInt64, length: Int) throws {
        var root = directory
        var mount: Mount?
        if !lowers.isEmpty {
            root = path + "/work-merged"
            mount = try Mount.overlay(options, lowers: lowers, upper: directory, work: directory + ".work", at: root)
        }
        var tree = RandomTree(root, seed: seed, startTime: TreeBuilder.time + Int64(seed % 10) * 10_000)
        tree.keepsLinkedInodes = options.index
        tree.change(length)
        log += "\(directory):\n  \(tree.log.joined(separator: "\n  "))\n"
        try mount?.unmount()
    }

    var dialect: WhiteoutDialect { options.userAttributes ? .overlayUserXattr : .overlay }
    var asUpper: SourceOptions { source(upper, lowers: lowers, dialect, workers: 1) }
    var asTrees: SourceOptions { source(merged, lowers: [base], workers: 1) }

    /// Everything in which the two ways of looking differ; empty when all is well.
    func disagreements() throws -> [String] {
        var found: [String] = []
        for profile in [LayerProfile.docker20, .full] {
            let one = try changes(asUpper, profile)
            let two = try changes(asTrees, profile)
            if one != two { found.append("changes (\(profile)): \(difference(one, two))") }
        }
        // Contents read wherever metadata agree, through redirects and copies of metadata only.
        var (upper, trees) = (asUpper, asTrees)
        (upper.contents, trees.contents) = (.always, .always)
        let (one, two) = (try changes(upper), try changes(trees))
        if one != two { found.append("changes by contents: \(difference(one, two))") }
        found += try layerDisagreements("upper", layer(asUpper), comparesDirectoryTimes: true)
        found += try layerDisagreements("trees", layer(asTrees), comparesDirectoryTimes: false)
        return found
    }

    private func difference(_ one: [String], _ two: [String]) -> String {
        "only upper: \(one.filter { !two.contains($0) }), only trees: \(two.filter { !one.contains($0) })"
    }

    /// Applies a layer to a copy of the lower view and compares that with the merged view.
    func layerDisagreements(
        _ name: String, _ bytes: [UInt8], comparesDirectoryTimes: Bool, links: Bool = true
    ) throws -> [String] {
        let copy = path + "/applied-\(name)"
        try copyTree(base, to: copy)
        try unpack(bytes, to: copy)
        let expected = try TreeSnapshot(merged, ignoring: .root)
        let applied = try TreeSnapshot(copy, ignoring: .root)
        var lines = compareTrees(applied, expected, directoryTimes: comparesDirectoryTimes)
        let carried = Set(try listed(bytes).map { escapedText($0.name) })
        if lines.isEmpty, links { lines = try linkDisagreements(applied, expected, carried) }
        guard !lines.isEmpty else { return [] }
        return ["layer of \(name) applied (left), merged (right):"] + lines + ["layer: \(try texts(bytes))"]
    }

    /// Names that are links without reason, and names of one inode that the layer `carried` as two files.
    private func linkDisagreements(_ applied: TreeSnapshot, _ expected: TreeSnapshot, _ carried: Set<String>) throws
        -> [String]
    {
        var lines: [String] = []
        for (path, entry) in applied.entries where entry.firstPath != path && carried.contains(path) {
            if let merged = expected[path], merged.firstPath != expected[entry.firstPath]?.firstPath {
                lines.append("\(path) is linked to \(entry.firstPath), but not in the merged view")
            }
        }
        for (path, entry) in try TreeSnapshot(upper, ignoring: .root).entries where entry.firstPath != path {
            // Whiteouts share an inode, too, but are not visible.
            guard carried.contains(path), carried.contains(entry.firstPath), let one = applied[path],
                let two = applied[entry.firstPath]
            else { continue }
            if one.inode != two.inode { lines.append("\(path) is not linked to \(entry.firstPath)") }
        }
        return lines
    }

    func remove() throws {
        while let mount = mounts.popLast() { try mount.unmount() }
        _ = try runProgram(["rm", "-rf", path])
    }
}

/// What a layer can carry of two trees, compared: whole seconds, portable attributes; not which names are links.
func compareTrees(_ left: TreeSnapshot, _ right: TreeSnapshot, directoryTimes: Bool = true) -> [String] {
    var left = portable(left, directoryTimes)
    let right = portable(right, directoryTimes)
    // A directory that stays keeps attributes that the layer does not name, as all appliers have it.
    for (path, entry) in right.entries where entry.kind == .directory {
        guard var kept = left[path] else { continue }
        kept.attributes = kept.attributes.filter { entry.attributes[$0.key] != nil }
        left.entries[path] = kept
    }
    return left.differences(from: right)
}

private func portable(_ snapshot: TreeSnapshot, _ directoryTimes: Bool) -> TreeSnapshot {
    var result = snapshot
    for (path, var entry) in snapshot.entries {
        entry.nanoseconds = 0
        entry.firstPath = ""
        if entry.kind == .directory, !directoryTimes { entry.seconds = 0 }
        entry.attributes = entry.attributes.filter { (name, _) in
            !name.hasPrefix("trusted.") && !name.contains("overlay") && !name.hasPrefix("user.containers.override_")
        }
        result.entries[path] = entry
    }
    return result
}
