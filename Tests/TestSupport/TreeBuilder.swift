import Glibc
import LayerModel

/// A system call of a test's own that failed.
package struct TestFailure: Error, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
    /// The failed call's name, what it was for, and the present errno.
    package static func call(_ name: String, _ path: String) -> TestFailure {
        TestFailure("\(name) \(path): \(String(cString: strerror(errno)))")
    }
}

/// The bytes that a name written with `\xNN` stands for; every other character stands for itself.
package func unescaped(_ text: some StringProtocol) -> [UInt8] {
    let bytes = Array(text.utf8)
    var result: [UInt8] = []
    var index = 0
    while index < bytes.count {
        if bytes[index] == UInt8(ascii: "\\"), index + 3 < bytes.count, bytes[index + 1] == UInt8(ascii: "x"),
            let value = UInt8(String(decoding: bytes[(index + 2)...(index + 3)], as: UTF8.self), radix: 16)
        {
            result.append(value)
            index += 4
        } else {
            result.append(bytes[index])
            index += 1
        }
    }
    return result
}

/// Builds trees with plain system calls. Names may hold `\xNN`; modes do not depend on the umask; every inode has
/// one known time unless another is given, directories from `finish` on.
package final class TreeBuilder {
    package static let time: Int64 = 1_700_000_000
    package let root: String
    private var directories: [(path: String, time: timespec)] = []

    /// Makes `root` unless it exists; its parent must.
    package init(_ root: String) throws {
        self.root = root
        if mkdir(root, 0o755) != 0, errno != EEXIST { throw TestFailure.call("mkdir", root) }
    }

    /// Builds a tree in one go.
    package static func make(_ root: String, _ body: (TreeBuilder) throws -> Void) throws {
        let builder = try TreeBuilder(root)
        try body(builder)
        try builder.finish()
    }

    /// The path of a name as system calls take it.
    package func path(_ name: String) -> [CChar] { Self.terminated(root + "/" + name) }

    static func terminated(_ path: String) -> [CChar] { unescaped(path).map { CChar(bitPattern: $0) } + [0] }

    private func check(_ result: Int32, _ call: String, _ name: String) throws {
        guard result == 0 else { throw TestFailure.call(call, root + "/" + name) }
    }

    // MARK: Nodes

    package func directory(
        _ name: String, _ mode: mode_t = 0o755, uid: uid_t = 0, gid: gid_t = 0, time: Int64 = time, nanoseconds: Int = 0
    ) throws {
        if mkdir(path(name), mode) != 0, errno != EEXIST { throw TestFailure.call("mkdir", name) }
        try owner(name, uid, gid)
        try check(chmod(path(name), mode), "chmod", name)
        directories.removeAll { $0.path == name }
        directories.append((name, timespec(tv_sec: Int(time), tv_nsec: nanoseconds)))
    }

    package func file(
        _ name: String, _ content: String = "", _ mode: mode_t = 0o644, uid: uid_t = 0, gid: gid_t = 0,
        time: Int64 = time, nanoseconds: Int = 0
    ) throws {
        try file(
            name, bytes: Array(content.utf8), mode, uid: uid, gid: gid, time: time, nanoseconds: nanoseconds)
    }

    package func file(
        _ name: String, bytes: [UInt8], _ mode: mode_t = 0o644, uid: uid_t = 0, gid: gid_t = 0, time: Int64 = time,
        nanoseconds: Int = 0
    ) throws {
        try write(name, bytes)
        try owner(name, uid, gid)
        try check(chmod(path(name), mode), "chmod", name)
        try times(name, time, nanoseconds)
    }

    /// Writes a file's contents, in place where it exists.
    package func write(_ name: String, _ bytes: [UInt8]) throws {
        let descriptor = open(path(name), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw TestFailure.call("open", root + "/" + name) }
        defer { close(descriptor) }
        try writeAll(bytes, to: descriptor)
    }

    package func link(symbolic name: String, to target: String, time: Int64 = time) throws {
        try check(symlink(Self.terminated(target), path(name)), "symlink", name)
        try times(name, time)
    }

    package func link(_ name: String, to existing: String) throws {
        try check(linkat(AT_FDCWD, path(existing), AT_FDCWD, path(name), 0), "link", name)
    }

    package func character(_ name: String, _ major: UInt32, _ minor: UInt32, _ mode: mode_t = 0o600) throws {
        try node(name, S_IFCHR | mode, major, minor)
    }

    package func block(_ name: String, _ major: UInt32, _ minor: UInt32, _ mode: mode_t = 0o600) throws {
        try node(name, S_IFBLK | mode, major, minor)
    }

    package func fifo(_ name: String, _ mode: mode_t = 0o644) throws { try node(name, S_IFIFO | mode, 0, 0) }

    package func socket(_ name: String) throws { try node(name, S_IFSOCK | 0o755, 0, 0) }

    /// A whiteout as overlayfs makes it.
    package func whiteout(_ name: String) throws { try node(name, S_IFCHR, 0, 0) }

    private func node(_ name: String, _ mode: mode_t, _ major: UInt32, _ minor: UInt32) throws {
        let (high, low) = (UInt64(major), UInt64(minor))
        let device = (low & 0xff) | (high & 0xfff) << 8 | (low & ~0xff) << 12 | (high & ~0xfff) << 32
        try check(mknod(path(name), mode, dev_t(device)), "mknod", name)
        try check(chmod(path(name), mode & 0o7777), "chmod", name)
        try times(name, Self.time)
    }

    // MARK: What inodes carry

    package func owner(_ name: String, _ uid: uid_t, _ gid: gid_t) throws {
        try check(lchown(path(name), uid, gid), "lchown", name)
    }

    /// Takes a file's contents out of the page cache, once they are on disk.
    package func forgetContents(_ name: String) {
        let file = open(path(name), O_RDONLY)
        fsync(file)
        posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED)
        close(file)
    }

    package func mode(_ name: String, _ mode: mode_t) throws { try check(chmod(path(name), mode), "chmod", name) }

    package func times(_ name: String, _ seconds: Int64, _ nanoseconds: Int = 0) throws {
        let time = timespec(tv_sec: Int(seconds), tv_nsec: nanoseconds)
        try check(utimensat(AT_FDCWD, path(name), [time, time], AT_SYMLINK_NOFOLLOW), "utimensat", name)
    }

    package func attribute(_ name: String, _ attribute: String, _ value: [UInt8]) throws {
        let (place, label) = (unescaped(name) + [0], Array(attribute.utf8) + [0])
        let directory = try openPath(root)
        try directory.setAttribute(
            NamePointer(terminated: label.rawBytes), value.rawBytes, of: NamePointer(terminated: place.rawBytes))
    }

    package func attribute(_ name: String, _ attribute: String, _ value: String) throws {
        try self.attribute(name, attribute, Array(value.utf8))
    }

    package func removeAttribute(_ name: String, _ attribute: String) throws {
        let label = Array(attribute.utf8) + [0]
        let place = unescaped(name) + [0]
        let node = try openPath(root).open(NamePointer(terminated: place.rawBytes), [.readOnly, .noFollow])
        try node.removeAttribute(NamePointer(terminated: label.rawBytes))
    }

    package func remove(_ name: String) throws { try check(Glibc.remove(path(name)), "remove", name) }

    package func rename(_ name: String, to target: String) throws {
        try check(Glibc.rename(path(name), path(target)), "rename", name)
    }

    /// Sets the times of the directories, the deepest first, and that of the root.
    package func finish(rootTime: Int64 = time) throws {
        for directory in directories.reversed() {
            try check(
                utimensat(AT_FDCWD, path(directory.path), [directory.time, directory.time], 0), "utimensat",
                directory.path)
        }
        directories = []
        try times(".", rootTime)
    }
}

/// The value of `security.capability` of revision 2 or 3 with cap_net_raw permitted and effective, as G5 has it.
package func capability(revision: UInt8, rootID: UInt8 = 0) -> [UInt8] {
    let value: [UInt8] = [1, 0, 0, revision, 0, 0x20, 0, 0] + [UInt8](repeating: 0, count: 12)
    return revision == 3 ? value + [rootID, 0, 0, 0] : value
}
