import Glibc
import LayerModel

/// The tree that is measured, and what is made of it once: its layer, compressed ones, a changed copy.
final class BenchInput {
    let label: String
    let tree: String
    let summary: Summary
    /// Whether this is the tree for which the targets are meant.
    var isReference: Bool { label == Recipe.linuxSource.rawValue }
    private let console: BenchConsole
    let peers: Peers
    /// A layer that the user gave.
    private let givenLayer: String?
    /// Where derived files lie, and how their names begin.
    private let folder: String
    private let prefix: String
    private var digests: [String: String] = [:]

    /// Finds or makes what `--input` names: a recipe, a directory, or an archive, which is unpacked.
    init(_ name: String, peers: Peers, _ console: BenchConsole) throws(BenchFailure) {
        self.console = console
        self.peers = peers
        var folder = Recipe.cache + "/bench"
        if let recipe = Recipe(rawValue: name), !name.contains("/") {
            (label, tree, givenLayer) = (recipe.rawValue, try recipe.tree(console), nil)
        } else {
            guard TextFile.exists(name) else {
                let recipes = Recipe.allCases.map(\.rawValue).joined(separator: ", ")
                throw BenchFailure(.noInput, "open \(name): no such directory, archive or recipe (\(recipes))")
            }
            // What is made of the user's own input goes when the process does.
            try TextFile.makeDirectories(Recipe.cache)
            folder = try ScratchDirectory(in: Recipe.cache).path
            label = name.split(separator: "/").last.map(String.init) ?? "root"
            if TextFile.isDirectory(name) {
                (tree, givenLayer) = (name, nil)
            } else {
                console.status("unpacking \(label)", nil)
                tree = folder + "/tree"
                givenLayer = name
                _ = try Pipeline([BenchProbe.program, "apply", name, tree, "--quiet"]).run()
            }
        }
        console.status("reading \(label)", nil)
        defer { console.status(nil, nil) }
        summary = try BenchProbe.tree(tree)
        let mark = String(summary.names ^ summary.contents &* 3 ^ summary.metadata &* 5, radix: 16)
        self.folder = folder
        prefix = "\(label)-\(mark)"
    }

    var description: String {
        "\(label): \(Format.count(summary.entries)) entries, \(Format.bytes(summary.bytes)) in files"
    }

    /// Reads everything once, so that it lies in memory as far as it fits.
    func warm() throws(BenchFailure) { _ = try BenchProbe.tree(tree) }

    /// The tree as a plain layer, in the form that every peer reads: byte for byte what Docker writes.
    func layer() throws(BenchFailure) -> String {
        if let givenLayer, Self.magic(givenLayer) == nil { return givenLayer }
        let (tree, summary) = (tree, summary)
        return try derived(".tar") { path throws(BenchFailure) in
            let pipeline = Pipeline([BenchProbe.program, "diff", tree, "-o", path, "--profile", "docker20", "--quiet"])
            _ = try pipeline.run()
            let written = try BenchProbe.archive(of: Pipeline(["cat", path]))
            if let difference = summary.difference(from: written) {
                throw BenchFailure(.wrongResult, "the layer of \(tree) has \(difference)")
            }
        }
    }

    func gzipLayer() throws(BenchFailure) -> String {
        if let givenLayer, Self.magic(givenLayer) == .gzip { return givenLayer }
        let plain = try layer()
        return try derived(".tar.gz") { path throws(BenchFailure) in
            try compress(plain, to: path, with: [peers[.pigz] ?? "gzip", "-6", "-n", "-c"])
        }
    }

    func zstdLayer() throws(BenchFailure) -> String {
        if let givenLayer, Self.magic(givenLayer) == .zstd { return givenLayer }
        let plain = try layer()
        return try derived(".tar.zst") { path throws(BenchFailure) in
            guard let zstd = peers[.zstd] else {
                throw BenchFailure(.unavailable, "zstd \(PeerName.zstd.installation)")
            }
            try compress(plain, to: path, with: [zstd, "-3", "-T0", "-q", "-c"])
        }
    }

    /// The layer in a form that can be read in parts, and its annotations.
    func indexedLayer() throws(BenchFailure) -> (layer: String, annotations: String) {
        let tree = tree
        let folder = try derived(".chunked") { path throws(BenchFailure) in
            try TextFile.makeDirectories(path)
            let words = ["diff", tree, "-o", path + "/layer", "--profile", "docker20", "--quiet", "--require-index"]
            let index = ["--compress", "zstd:chunked", "--annotations-out", path + "/annotations.json"]
            _ = try Pipeline([BenchProbe.program] + words + index).run()
        }
        return (folder + "/layer", folder + "/annotations.json")
    }

    /// A layer of the tree with five differences, and the paths that differ.
    func changedLayer() throws(BenchFailure) -> (layer: String, paths: [String]) {
        let (tree, paths) = try changedTree()
        let layer = try derived(".changed.tar") { path throws(BenchFailure) in
            _ = try Pipeline([BenchProbe.program, "diff", tree, "-o", path, "--profile", "docker20", "--quiet"]).run()
        }
        return (layer, paths)
    }

    private func compress(_ plain: String, to path: String, with program: [String]) throws(BenchFailure) {
        let file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
        guard file >= 0 else { throw BenchFailure(.cannotWrite, "create \(path): \(errorText(errno))") }
        defer { close(file) }
        _ = try Pipeline(program, input: plain).run(sink: .descriptor(file))
    }

    /// `sha256:...` of a file.
    func digest(of path: String) throws(BenchFailure) -> String {
        if let known = digests[path] { return known }
        let said = try Pipeline(["sha256sum", "-b"], input: path).run(sink: .memory).output
        let digest = "sha256:" + String(decoding: said.prefix(64), as: UTF8.self)
        digests[path] = digest
        return digest
    }

    /// A full copy with five differences, and the paths that differ: two files changed, one removed, one added, the
    /// mode of a directory.
    func changedTree() throws(BenchFailure) -> (tree: String, paths: [String]) {
        let original = tree
        let folder = try derived(".changed") { path throws(BenchFailure) in
            try TextFile.makeDirectories(path)
            let copy = path + "/tree"
            _ = try Pipeline(["cp", "-a", original, copy]).run()
            let script = "cd \"$1\" && find . -mindepth 2 -type f -links 1 -print0 | head -z -n 2000"
            let said = try Pipeline(["sh", "-c", script, "sh", original]).run(sink: .memory).output
            let files = said.split(separator: 0).compactMap { String(validating: $0.dropFirst(2), as: UTF8.self) }
                .filter { !$0.contains("\n") }.sorted()
            guard files.count >= 20 else {
                throw BenchFailure(.unavailable, "the tree has too few files for five differences")
            }
            let chosen = [0.1, 0.5, 0.7, 0.9].map { files[Int($0 * Double(files.count))] }
            let directory = chosen[0].split(separator: "/").dropLast().joined(separator: "/")
            let edits =
                "cd \"$1\" && echo changed >> \"$2\" && echo changed >> \"$3\" && rm \"$4\" && echo new > \"$5\" && chmod 700 \"$6\""
            _ = try Pipeline([
                "sh", "-c", edits, "sh", copy, chosen[0], chosen[1], chosen[2], chosen[3] + ".added", directory,
            ])
            .run()
            let paths = [chosen[0], chosen[1], chosen[2], chosen[3] + ".added", directory]
            try TextFile.write(paths.joined(separator: "\n"), to: path + "/paths")
        }
        let paths = TextFile.read(folder + "/paths").split(separator: "\n").map(String.init)
        return (folder + "/tree", paths)
    }

    /// A store of containers-storage that holds the tree as the layer `base`.
    func storageLayer() throws(BenchFailure) -> [String] {
        guard let program = peers[.containersStorage] else {
            throw BenchFailure(.unavailable, PeerName.containersStorage.installation)
        }
        let plain = try layer()
        let store = try derived(".store") { path throws(BenchFailure) in
            _ = try Pipeline(Self.storage(program, path) + ["create-layer", "--id", "base"]).run()
            _ = try Pipeline(Self.storage(program, path) + ["applydiff", "--file", plain, "base"]).run()
        }
        return Self.storage(program, store)
    }

    /// containers-storage with a store of its own under `path`, of plain directories.
    static func storage(_ program: String, _ path: String) -> [String] {
        [program, "--graph", path + "/graph", "--run", path + "/run", "--storage-driver", "vfs"]
    }

    func derived(_ suffix: String, make: (String) throws(BenchFailure) -> Void) throws(BenchFailure) -> String {
        try Recipe.kept(prefix + suffix, in: folder) { path throws(BenchFailure) in
            console.status("preparing \(label)\(suffix), once", nil)
            defer { console.status(nil, nil) }
            try make(path)
        }
    }

    enum Magic { case gzip, zstd, other }

    /// What the first bytes of an archive say; nil for a plain one.
    private static func magic(_ path: String) -> Magic? {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 512)
        guard read(file, &bytes, 512) == 512 else { return .other }
        if bytes.starts(with: [0x1f, 0x8b]) { return .gzip }
        if bytes.starts(with: [0x28, 0xb5, 0x2f, 0xfd]) { return .zstd }
        return Array(bytes[257..<262]) == Array("ustar".utf8) ? nil : .other
    }
}
