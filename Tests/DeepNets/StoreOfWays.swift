import Glibc

/// A store with one layer, which is the tree that is exported: from there it must come back as the same bytes.
final class StoreOfWays {
    /// Those whose layers can be made here; the others need a kernel or a pool that few have.
    static let drivers: [String] = {
        let hasHelper = access("/usr/bin/fuse-overlayfs", X_OK) == 0
        return ["overlay2", "overlay"] + (hasHelper ? ["fuse-overlayfs"] : [])
    }()

    private let bench: Bench
    private let home: String

    /// Unpacks `layer` on the file system of `tree`; nil where that has no room for the attributes beside the driver's own.
    init?(_ bench: Bench, _ driver: String, above tree: String, layer: String) throws {
        self.bench = bench
        home = "\(tree)-store/\(driver)"
        try Ground.directory("\(tree)-store")
        let ending = try Run([bench.program, "layer", "apply", "layer", layer, "--home", home, "--quiet"])()
        guard ending.status == 0 else {
            remove()
            if ending.status == 74, ending.errors.contains("set the attribute") { return nil }
            throw Trouble("ldiff layer apply with \(driver): \(ending)")
        }
    }

    /// What lies on the disk of it.
    var contents: String { home }

    /// The verb that exports it.
    var words: [String] { ["layer", "diff", "layer", "--home", home] }

    func remove() { _ = try? tool("rm", "-rf", String(home.prefix(upTo: home.lastIndex(of: "/") ?? home.endIndex))) }
}

/// A disk that lets few reads through, for the processes of a control group; nil where this machine has no such groups.
final class SlowDisk {
    let group = "/sys/fs/cgroup/blkio/ldiff-deep-\(getppid())-\(getpid())"

    /// `device` is `MAJOR:MINOR`.
    init?(_ device: String, readsPerSecond: Int) {
        guard mkdir(group, 0o755) == 0 || errno == EEXIST else { return nil }
        let file = open("\(group)/blkio.throttle.read_iops_device", O_WRONLY | O_CLOEXEC)
        let text = "\(device) \(readsPerSecond)".name
        guard file >= 0, text.withUnsafeBytes({ write(file, $0.baseAddress, $0.count) }) == text.count else {
            if file >= 0 { close(file) }
            rmdir(group)
            return nil
        }
        close(file)
    }

    deinit { rmdir(group) }
}
