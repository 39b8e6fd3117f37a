import Glibc

/// Where the nets work: file systems of their own on loop devices, in a mount namespace and a process namespace of their own.
///
/// Whatever ends the program, the namespaces end with it, and with them every process and mount; a loop device whose last user
/// is gone detaches itself, and its image has no name. So nothing is left, not even after SIGKILL.
package final class Ground {
    package static let top = "/media"
    private var devices: [String: LoopDevice] = [:]

    /// Set in the process that is inside the namespaces.
    private static let mark = "LDIFF_DEEP_INSIDE"

    /// Starts this program again in namespaces of its own, unless it is in them; returns inside.
    package static func enter() throws {
        guard getenv(mark) == nil else {
            // The first process of a namespace gets no signal that it has no handler for.
            for number in [SIGINT, SIGTERM, SIGHUP] { signal(number) { _exit(128 + $0) } }
            return
        }
        setenv(mark, "1", 1)
        let words = [
            "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private", "--",
            try ownPath(),
        ]
        var arguments: [UnsafeMutablePointer<CChar>?] =
            (words + CommandLine.arguments.dropFirst()).map { strdup($0) } + [nil]
        execvp("unshare", &arguments)
        throw Trouble.call("execvp", "unshare")
    }

    /// The program that runs.
    package static func ownPath() throws -> String {
        var path = [UInt8](repeating: 0, count: 4096)
        let count = path.withUnsafeMutableBufferPointer { bytes in
            bytes.withMemoryRebound(to: CChar.self) {
                $0.baseAddress.map { readlink("/proc/self/exe", $0, 4096) } ?? -1
            }
        }
        guard count > 0 else { throw Trouble.call("readlink", "/proc/self/exe") }
        return String(decoding: path.prefix(count), as: UTF8.self)
    }

    package init() throws {
        guard getpid() == 1 else { throw Trouble("not in a process namespace of its own") }
        if mkdir(Self.top, 0o755) != 0, errno != EEXIST { throw Trouble.call("mkdir", Self.top) }
        try tool("mount", "-t", "tmpfs", "-o", "mode=755", "nets", Self.top)
        for name in ["out", "bin"] { try Self.directory("\(Self.top)/\(name)") }
    }

    static func directory(_ path: String) throws {
        guard mkdir(path, 0o755) == 0 || errno == EEXIST else { throw Trouble.call("mkdir", path) }
    }

    /// Files of results, in memory.
    var out: String { "\(Self.top)/out" }

    /// The mount point of a file system of a kind, made when it is first asked for.
    func fileSystem(_ kind: String) throws -> String {
        let point = "\(Self.top)/\(kind)"
        if kind == "tmpfs" {
            if devices[kind] == nil, mkdir(point, 0o755) == 0 { try tool("mount", "-t", "tmpfs", "nets", point) }
            return point
        }
        guard devices[kind] == nil else { return point }
        let device = try LoopDevice(bytes: 20 << 30)
        switch kind {
        case "ext4": try Self.makeExt4(device)
        case "xfs": try tool("mkfs.xfs", "-q", "-f", "-K", "-m", "reflink=1", device.path)
        default: throw Trouble("unknown kind of file system: \(kind)")
        }
        try Self.directory(point)
        devices[kind] = device
        try mount(kind)
        return point
    }

    private static func makeExt4(_ device: LoopDevice) throws {
        try tool(
            "mkfs.ext4", "-q", "-F", "-I", "256", "-i", "16384", "-O", "^has_journal",
            "-E", "lazy_itable_init=1,nodiscard", device.path)
    }

    /// The mount point of an ext4 that is made anew with each call. To remove files and make others there takes ten times as long
    /// for minutes, since ext4 looks past inodes that were freed a moment ago.
    func freshExt4() throws -> String {
        let point = "\(Self.top)/fresh"
        if devices["fresh"] == nil {
            try Self.directory(point)
            devices["fresh"] = try LoopDevice(bytes: 20 << 30)
        } else {
            try tool("umount", "--recursive", point)
        }
        guard let device = devices["fresh"] else { return point }
        try Self.makeExt4(device)
        try tool("mount", "-t", "ext4", "-o", "nodiscard", device.path, point)
        return point
    }

    private func mount(_ kind: String) throws {
        guard let device = devices[kind] else { return }
        try tool("mount", "-t", kind, "-o", "nodiscard", device.path, "\(Self.top)/\(kind)")
    }

    /// Unmounts a file system and mounts it again: then nothing of it is in memory, no inode either.
    func remount(_ kind: String) throws {
        guard devices[kind] != nil else { return }
        try tool("umount", "\(Self.top)/\(kind)")
        try mount(kind)
    }

    /// `MAJOR:MINOR` of the device below a file system.
    func deviceNumber(_ kind: String) -> String? { devices[kind]?.number }
}

/// A loop device over an image without a name; it detaches itself when nobody uses it any more.
final class LoopDevice {
    let path: String
    let number: String
    let image: Int32
    private let descriptor: Int32

    /// With `marker`, the device repeats that text, and nobody can write to it.
    init(bytes: Int, marker: Name = []) throws {
        image = open("/var/tmp", O_RDWR | 0o20200000 | O_CLOEXEC, 0o600)  // O_TMPFILE
        guard image >= 0, ftruncate(image, bytes) == 0 else { throw Trouble.call("make an image in", "/var/tmp") }
        if !marker.isEmpty { try Self.fill(image, bytes, marker) }
        let control = open("/dev/loop-control", O_RDWR | O_CLOEXEC)
        guard control >= 0 else { throw Trouble.call("open", "/dev/loop-control") }
        defer { close(control) }
        // Another process may take the device that is free; then the next one is asked for.
        for _ in 0..<100 {
            let index = ioctl(control, 0x4c82)  // LOOP_CTL_GET_FREE
            guard index >= 0 else { break }
            let device = open("/dev/loop\(index)", (marker.isEmpty ? O_RDWR : O_RDONLY) | O_CLOEXEC)
            guard device >= 0 else { continue }
            if Self.configure(device, image, isReadOnly: !marker.isEmpty) {
                (path, number, descriptor) = ("/dev/loop\(index)", "7:\(index)", device)
                return
            }
            close(device)
        }
        throw Trouble.call("find a free", "loop device")
    }

    private static func fill(_ image: Int32, _ bytes: Int, _ marker: Name) throws {
        let piece = Name((0..<65_536).map { marker[$0 % marker.count] })
        for offset in stride(from: 0, to: bytes, by: piece.count) {
            try piece.withUnsafeBytes { try writeAll($0, to: image, at: offset) }
        }
    }

    deinit {
        close(descriptor)
        close(image)
    }

    /// `struct loop_config`: the image, a block size, and the flags LO_FLAGS_AUTOCLEAR and, if asked for,
    /// LO_FLAGS_READ_ONLY in the information that follows.
    private static func configure(_ device: Int32, _ image: Int32, isReadOnly: Bool) -> Bool {
        var words = [UInt32](repeating: 0, count: 304 / 4)
        words[0] = UInt32(image)
        words[1] = 512
        words[(8 + 52) / 4] = isReadOnly ? 5 : 4
        return words.withUnsafeMutableBytes { bytes in
            bytes.baseAddress.map { ioctl(device, 0x4c0a, $0) } == 0
        }
    }
}

/// How much of a tree's contents memory holds when a run begins.
enum Cache: String, CaseIterable {
    case warm, cold
    /// A random half of the files is not in memory.
    case half
    /// Nothing of the file system is in memory, no inode and no directory either.
    case remounted
}

extension Ground {
    /// Brings the files of a tree on `kind` into the state that is asked for.
    func prepare(_ tree: String, _ cache: Cache, on kind: String, _ numbers: inout Numbers) throws {
        switch cache {
        case .warm: try Self.visit(Folder(tree)) { Self.readAll($0) }
        case .remounted: try remount(kind)
        case .cold, .half:
            let folder = try Folder(tree)
            _ = Libc.syncFileSystem(folder.descriptor)
            try Self.visit(folder) { file in
                if cache == .cold || numbers.isTrue(oneIn: 2) { posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) }
            }
        }
    }

    private static func readAll(_ file: Int32) {
        var status = stat()
        // Holes are nowhere, and reading many gigabytes of them takes long.
        guard fstat(file, &status) == 0, status.st_size < 1 << 30 else { return }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 8)
        defer { buffer.deallocate() }
        while read(file, buffer.baseAddress, buffer.count) > 0 {}
    }

    /// Every file with contents below a folder, open for reading.
    private static func visit(_ folder: Folder, _ body: (Int32) -> Void) throws {
        for name in try folder.names() {
            guard let status = folder.status(name) else { continue }
            if status.st_mode & S_IFMT == S_IFDIR {
                try visit(folder.folder(name), body)
            } else if status.st_mode & S_IFMT == S_IFREG, status.st_size > 0 {
                let file = folder.open(name)
                guard file >= 0 else { continue }
                body(file)
                close(file)
            }
        }
    }
}
