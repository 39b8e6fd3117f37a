import Glibc
import LayerModel
import PlainJSON

/// A store of one driver that holds the input as the layer `base`, and `changed` on it, in which 100 files were changed.
struct DriverStore {
    /// The driver's name, as `ldiff layer --driver` takes it.
    let driver: String
    let home: String

    static let base = "base"
    static let changed = "changed"
    private let program = BenchProbe.program

    /// Finds or makes the store for `input`: at `home`, where a driver needs a place of its own, else in the cache.
    init(_ driver: String, home: String?, _ input: BenchInput) throws(BenchFailure) {
        self.driver = driver
        if let home {
            self.home = home
            try fill(input)
        } else {
            let driver = driver
            let folder = try input.derived(".\(driver).store") { path throws(BenchFailure) in
                try TextFile.makeDirectories(path)
                try DriverStore(driver, at: path + "/" + driver).fill(input)
            }
            self.home = folder + "/" + driver
        }
    }

    private init(_ driver: String, at home: String) {
        self.driver = driver
        self.home = home
    }

    /// `ldiff layer OPERATION ...` on this store.
    func layer(_ operation: String, _ arguments: String...) -> Pipeline {
        Pipeline([program, "layer", operation] + arguments + ["--driver", driver, "--home", home])
    }

    private func fill(_ input: BenchInput) throws(BenchFailure) {
        guard (try? layer("exists", Self.changed).run()) == nil else { return }
        let archive = try input.layer()
        _ = try layer("apply", Self.base, archive, "--quiet").run()
        _ = try layer("create", Self.changed, "--parent", Self.base, "--read-write", "--quiet").run()
        let tree = try path(of: Self.changed)
        // Every n-th file, so that all parts of the tree are touched.
        let script = """
            cd "$1" && find . -mindepth 2 -type f -links 1 | sort | awk '{ f[NR] = $0 } END {
                n = NR > 100 ? NR / 100 : 1
                for (i = 1; i <= NR && c < 100; i += n) { c++; print f[int(i)] }
            }' | while IFS= read -r file; do echo changed >> "$file"; done
            """
        _ = try Pipeline(["sh", "-c", script, "sh", tree]).run()
        _ = try layer("unmount", Self.changed).run()
    }

    /// Mounts a layer; its path.
    private func path(of id: String) throws(BenchFailure) -> String {
        let said = try layer("mount", id).run(sink: .memory).output
        return String(decoding: said, as: UTF8.self).trimmed
    }

    /// Where the engine alone finds a layer.
    struct Place {
        /// The directory, and the flags that say what it is and lies upon.
        var directory: String
        var flags: [String] = []
        /// Programs that mount it first.
        var prepare: [Pipeline] = []
    }

    /// What the driver itself looks at: the layer's own directory where it has one, else the mounted trees.
    func place(of id: String) throws(BenchFailure) -> Place {
        let facts = try metadata(id)
        if let upper = facts["UpperDir"] {
            let dialect = driver == "fuse-overlayfs" ? driver : "overlay"
            let lowers = facts["LowerDir"]?.split(separator: ":").map(String.init) ?? []
            return Place(directory: upper, flags: ["--dialect", dialect] + lowers.flatMap { ["--lower", $0] })
        }
        if id == Self.base, let root = facts["RootDir"] { return Place(directory: root) }
        let mounts = [layer("mount", Self.base), layer("mount", Self.changed)]
        let trees = (base: try path(of: Self.base), changed: try path(of: Self.changed))
        return id == Self.base
            ? Place(directory: trees.base, prepare: mounts)
            : Place(directory: trees.changed, flags: ["--lower", trees.base], prepare: mounts)
    }

    /// Both layers' merged trees, for a peer that walks them, and how they are mounted.
    func mergedTrees() throws(BenchFailure) -> (base: String, changed: String, prepare: [Pipeline]) {
        let trees = (base: try path(of: Self.base), changed: try path(of: Self.changed))
        return (trees.base, trees.changed, [layer("mount", Self.base), layer("mount", Self.changed)])
    }

    /// Takes the mounts of others away, so that a run through the driver pays for its own.
    var unmounted: [Pipeline] { [layer("unmount", Self.changed), layer("unmount", Self.base)] }

    /// Where the parts of a layer lie, by Docker's names for them.
    private func metadata(_ id: String) throws(BenchFailure) -> [String: String] {
        let said = try layer("metadata", id, "--json").run(sink: .memory).output
        guard let facts = JSONValue(parsing: said)?["metadata"]?.elements else {
            throw BenchFailure(.failed, "ldiff layer metadata: \(String(decoding: said, as: UTF8.self))")
        }
        var places: [String: String] = [:]
        for fact in facts {
            if let name = fact["name"]?.string, let path = fact["path"]?.string { places[name] = path }
        }
        return places
    }

    /// Where below a home the driver keeps the contents of a layer that was applied; nil where that takes a mount.
    static func contents(_ driver: String) -> String? {
        switch driver {
        case "overlay2", "fuse-overlayfs": "/\(driver)/\(base)/diff"
        case "overlay": "/overlay/\(base)/root"
        case "aufs": "/aufs/diff/\(base)"
        default: nil
        }
    }
}
