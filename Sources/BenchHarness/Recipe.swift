import CBench
import Glibc
import LayerModel

/// What the harness says while it works.
package struct BenchConsole: Sendable {
    /// A line that stays.
    package var line: @Sendable (String) -> Void
    /// What is being done now, and how much of it as a part of 1 where that is known; nil when nothing is.
    package var status: @Sendable (String?, Double?) -> Void

    /// Sends both where the caller wants them.
    package init(
        line: @escaping @Sendable (String) -> Void, status: @escaping @Sendable (String?, Double?) -> Void
    ) {
        self.line = line
        self.status = status
    }
}

/// An input tree that can be made on any machine.
package enum Recipe: String, CaseIterable, Sendable {
    /// An unpacked Linux 6.1 source tree: 83,731 entries, 1.3 GB (Debian package linux-source-6.1).
    case linuxSource = "linux-source"
    /// A Debian 12 minbase root file system: about 6,800 entries, 200 MB.
    case debootstrap
    /// numpy, scipy and pandas from PyPI: few, larger files.
    case sitePackages = "site-packages"
    /// 1,000,000 empty and tiny files in deep and wide directories.
    case million
    /// 5,000 entries, 90 MB, made by code.
    case synthetic

    /// Where trees are kept: $LDIFF_CACHE, $XDG_CACHE_HOME/ldiff or ~/.cache/ldiff.
    static var cache: String {
        if let folder = TextFile.environment("LDIFF_CACHE") { return folder }
        if let folder = TextFile.environment("XDG_CACHE_HOME") { return folder + "/ldiff" }
        return (TextFile.environment("HOME") ?? "/tmp") + "/.cache/ldiff"
    }

    /// The tree's path; made first if it is not there. It appears under its name only when complete.
    func tree(_ console: BenchConsole) throws(BenchFailure) -> String {
        try Self.kept(rawValue) { path throws(BenchFailure) in
            console.status("making \(rawValue), once", 0)
            defer { console.status(nil, nil) }
            try make(at: path) { console.status("making \(rawValue), once", $0) }
        }
    }

    /// A tree of `entries` tiny files, for growth.
    static func tiny(_ entries: Int, _ console: BenchConsole) throws(BenchFailure) -> String {
        try kept("tiny-\(entries)") { path throws(BenchFailure) in
            defer { console.status(nil, nil) }
            try SyntheticTree(shape: .tiny, entries: entries).make(at: path) {
                console.status("making a tree of \(Format.count(UInt64(entries))) entries, once", $0)
            }
        }
    }

    /// A file or tree in the cache; `make` makes it at a path of its own if it is missing.
    static func kept(
        _ name: String, in folder: String = Recipe.cache, make: (String) throws(BenchFailure) -> Void
    ) throws(BenchFailure) -> String {
        let path = folder + "/" + name
        if TextFile.exists(path) { return path }
        try TextFile.makeDirectories(folder)
        let partial = "\(path).partial-\(getpid())"
        guard let undo = Cleanup.shared.make({ true }, undo: { removeTree(partial) }) else { return path }
        defer { Cleanup.shared.takeBack(undo) }
        try make(partial)
        // Somebody else may have made it meanwhile.
        guard rename(partial, path) == 0 || TextFile.exists(path) else {
            throw BenchFailure(.cannotWrite, "create \(path): \(errorText(errno))")
        }
        return path
    }

    private func make(at path: String, _ progress: @escaping (Double?) -> Void) throws(BenchFailure) {
        switch self {
        case .synthetic: try SyntheticTree(shape: .mixed, entries: 5000).make(at: path) { progress($0) }
        case .million: try SyntheticTree(shape: .tiny, entries: 1_000_000).make(at: path) { progress($0) }
        case .linuxSource: try makeLinuxSource(path, progress)
        case .debootstrap: try makeDebootstrap(path, progress)
        case .sitePackages: try makeSitePackages(path)
        }
    }

    /// The package is fetched and opened without being installed, so this needs no root.
    private func makeLinuxSource(_ path: String, _ progress: @escaping (Double?) -> Void) throws(BenchFailure) {
        var archive = "/usr/src/linux-source-6.1.tar.xz"
        try TextFile.makeDirectories(path)
        let scratch = try ScratchDirectory(in: Recipe.cache)
        defer { Cleanup.shared.takeBack(scratch.undo) }
        if !TextFile.exists(archive) {
            progress(nil)
            _ = try Pipeline([
                "sh", "-c",
                "cd \"$1\" && apt-get download -qq linux-source-6.1 && dpkg-deb -x linux-source-6.1_*.deb .",
                "sh", scratch.path,
            ]).run()
            archive = scratch.path + "/usr/src/linux-source-6.1.tar.xz"
        }
        // 83,731 entries: tar's listing tells how far it is.
        try Self.follow(
            Pipeline(["tar", "-xJvf", archive, "-C", path]), expected: 83_731, progress)
    }

    private func makeDebootstrap(_ path: String, _ progress: @escaping (Double?) -> Void) throws(BenchFailure) {
        guard geteuid() == 0 else {
            throw BenchFailure(.unavailable, "debootstrap needs root, for owners and device nodes")
        }
        // About as many lines as it prints for a minimal Debian 12.
        try Self.follow(
            Pipeline(["debootstrap", "--variant=minbase", "bookworm", path] + (Self.mirror().map { [$0] } ?? [])),
            expected: 560, progress)
        // A run inside a container may have left these mounted.
        for mounted in ["/proc", "/sys"] { umount2(path + mounted, Int32(MNT_DETACH)) }
    }

    private func makeSitePackages(_ path: String) throws(BenchFailure) {
        _ = try Pipeline([
            "python3", "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary=:all:",
            "--disable-pip-version-check", "--root-user-action=ignore", "--target", path, "numpy==1.26.4",
            "scipy==1.11.4", "pandas==2.1.4",
        ]).run()
    }

    /// Runs a program and counts the lines it prints against those expected.
    private static func follow(
        _ pipeline: Pipeline, expected: Int, _ progress: @escaping (Double?) -> Void
    ) throws(BenchFailure) {
        var (reads, writes): (Int32, Int32) = (-1, -1)
        let outcome = cbench_pipe(&reads, &writes)
        guard outcome == 0 else { throw BenchFailure(.failed, "pipe: \(errorText(-outcome))") }
        let reading = LineCounter(reads)
        let result: Result<PipelineResult, BenchFailure>
        do throws(BenchFailure) {
            reading.start { progress(min(1, Double($0) / Double(expected))) }
            result = .success(try pipeline.run(sink: .descriptor(writes)))
        } catch {
            result = .failure(error)
        }
        close(writes)
        reading.join()
        close(reads)
        _ = try result.get()
    }

    /// The Debian mirror that this machine already uses, so that a closed network with one of its own works too; nil where apt
    /// names none, and debootstrap takes its own.
    private static func mirror() -> String? {
        let words = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
        let said = (try? Pipeline(words).run(sink: .memory))?.output ?? []
        return String(decoding: said, as: UTF8.self).split(separator: "\n").map(String.init)
            .first { $0.hasSuffix("/debian") || $0.hasSuffix("/debian/") }
    }
}

/// A thread that counts the lines coming out of a pipe.
private final class LineCounter: @unchecked Sendable {
    private let descriptor: Int32
    private var thread: pthread_t?
    private var body: (Int) -> Void = { _ in }

    init(_ descriptor: Int32) { self.descriptor = descriptor }

    func start(_ body: @escaping (Int) -> Void) {
        self.body = body
        var identity = pthread_t()
        let retained = Unmanaged.passRetained(self)
        let result = pthread_create(
            &identity, nil,
            { argument in
                argument.map { Unmanaged<LineCounter>.fromOpaque($0).takeRetainedValue().run() }
                return nil
            }, retained.toOpaque())
        if result == 0 { thread = identity } else { retained.release() }
    }

    func join() {
        if let thread { pthread_join(thread, nil) }
    }

    private func run() {
        var block = [UInt8](repeating: 0, count: 64 << 10)
        var lines = 0
        while true {
            let count = read(descriptor, &block, block.count)
            if count <= 0 { return }
            lines += block.prefix(count).count { $0 == UInt8(ascii: "\n") }
            body(lines)
        }
    }
}
