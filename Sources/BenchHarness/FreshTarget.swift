import CBench
import Glibc
import LayerModel

/// An empty directory that a run fills: a just-made file system in memory when this is root, otherwise a plain directory.
///
/// For five seconds after a deletion ext4 looks past recently freed inodes, which makes creation many times slower. So
/// each run gets a file system of its own, in which nothing was ever deleted.
final class FreshTarget {
    let path: String
    private let undo: [Int]

    /// Where images and directories lie: memory, so that no disk's speed is measured.
    static let memory = TextFile.isDirectory("/dev/shm") ? "/dev/shm" : "/tmp"
    /// Whether `init` makes file systems.
    static let makesFileSystems = geteuid() == 0

    /// Space for `bytes` of files in `entries` entries.
    init(
        entries: UInt64, bytes: UInt64, on fileSystem: TargetFileSystem = .ext4
    ) throws(BenchFailure) {
        let scratch = try ScratchDirectory(in: Self.memory)
        var undo = [scratch.undo]
        var space = statvfs()
        let free = statvfs(scratch.path, &space) == 0 ? UInt64(space.f_bavail) * UInt64(space.f_frsize) : 0
        let needed = bytes + entries * 4500 + (64 << 20)
        guard free > needed else {
            Self.release(undo)
            throw BenchFailure(
                .unavailable, "no space: \(needed >> 20) MiB are needed in \(Self.memory), \(free >> 20) MiB are free")
        }
        guard Self.makesFileSystems else {
            path = scratch.path
            self.undo = undo
            return
        }
        do {
            let size = fileSystem.size(entries: entries, bytes: bytes)
            // What ext4 takes beside: 256 bytes an inode.
            let inodes = entries + entries / 4 + 4096
            undo.append(try Self.mountNew(fileSystem, scratch.path, inodes: inodes, size: size))
        } catch {
            Self.release(undo)
            throw error
        }
        // Not the file system's own root, which has a lost+found.
        path = scratch.path + "/root/tree"
        self.undo = undo
        guard mkdir(path, 0o755) == 0 else { throw BenchFailure(.unavailable, "create \(path): \(errorText(errno))") }
        sync()
    }

    deinit { Self.release(undo) }

    private static func release(_ undo: [Int]) { for number in undo.reversed() { Cleanup.shared.takeBack(number) } }

    private static func mountNew(
        _ fileSystem: TargetFileSystem, _ scratch: String, inodes: UInt64, size: UInt64
    ) throws(BenchFailure) -> Int {
        let (image, root) = (scratch + "/image", scratch + "/root")
        guard mkdir(root, 0o755) == 0 else {
            throw BenchFailure(.unavailable, "prepare \(scratch): \(errorText(errno))")
        }
        let kind = fileSystem.rawValue
        guard let maker = fileSystem.maker(image: image, inodes: inodes) else {
            return try mounted(root, kind) { mount(kind, root, kind, 0, "size=\(size)") == 0 ? 0 : errno }
        }
        let file = open(image, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw BenchFailure(.unavailable, "create \(image): \(errorText(errno))") }
        let isSized = ftruncate(file, Int(size)) == 0
        close(file)
        guard isSized else { throw BenchFailure(.unavailable, "prepare \(image): \(errorText(errno))") }
        _ = try Pipeline(maker).run()
        defer { unlink(image) }
        return try mounted(root, kind) {
            var device: Int32 = -1
            let loop = cbench_attach_loop(image, &device)
            guard loop >= 0 else { return -loop }
            // The device goes when this descriptor and the mount are gone.
            defer { close(device) }
            return mount("/dev/loop\(loop)", root, kind, UInt(MS_NOATIME), nil) == 0 ? 0 : errno
        }
    }

    /// Mounts by `body`, which returns an errno or 0; the number with which that is taken back.
    private static func mounted(
        _ root: String, _ kind: String, _ body: () -> Int32
    ) throws(BenchFailure) -> Int {
        var problem: Int32 = 0
        let number = Cleanup.shared.make {
            problem = body()
            return problem == 0
        } undo: {
            if umount2(root, 0) != 0 { umount2(root, Int32(MNT_DETACH)) }
        }
        guard let number else {
            throw BenchFailure(
                .unavailable, "mount a fresh \(kind): \(errorText(problem)) (loop devices, mount rights?)")
        }
        return number
    }
}

/// A directory that goes with the process.
struct ScratchDirectory {
    let path: String
    /// For `Cleanup.takeBack`.
    let undo: Int

    init(in parent: String) throws(BenchFailure) {
        let path = "\(parent)/ldiff-bench-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        let undo = Cleanup.shared.make {
            mkdir(path, 0o755) == 0
        } undo: {
            removeTree(path)
        }
        guard let undo else { throw BenchFailure(.unavailable, "create \(path): \(errorText(errno))") }
        self.path = path
        self.undo = undo
    }
}

/// Removes a tree, as far as it can be removed; does not cross into other file systems.
func removeTree(_ path: String) {
    _ = cbench_remove_tree(path)
    // At a signal the main thread may be filling it, until it sees that all is ending.
    for _ in 0..<100 where TextFile.exists(path) {
        usleep(10_000)
        _ = cbench_remove_tree(path)
    }
}

/// The kernel's caches.
enum Caches {
    /// Why they cannot be dropped; nil when they can.
    static var refusal: String? {
        access("/proc/sys/vm/drop_caches", W_OK) == 0 ? nil : "cold runs need root, to drop the caches"
    }

    /// Writes everything out, then forgets the page cache, names and inodes.
    static func drop() throws(BenchFailure) {
        sync()
        let control = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC)
        defer { close(control) }
        guard control >= 0, write(control, "3\n", 2) == 2 else {
            throw BenchFailure(.unavailable, "drop the caches: \(errorText(errno))")
        }
    }
}
