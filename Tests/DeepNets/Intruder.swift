import Glibc

/// A process in a container that means harm: `ldiff-deep intrude ROOT OUTSIDE SEED SECONDS ROLE DEVICE`. It does what its user
/// may do in the tree that the container sees: `user` owns `own`, `root` has the capabilities that Docker gives. The tree is its
/// root directory. DEVICE is the number of the one block device that it makes nodes of; nobody can write to that one.
struct Intruder {
    private let root: String
    private let outside: String
    private let isRoot: Bool
    private let device: dev_t
    private var numbers: Numbers

    static func run(_ words: [String]) throws {
        guard words.count == 6, let seed = UInt64(words[2]), let time = Double(words[3]), let minor = UInt64(words[5])
        else { throw Trouble("usage: intrude ROOT OUTSIDE SEED SECONDS ROLE DEVICE") }
        try Libc.changeRoot(words[0])
        let isRoot = words[4] == "root"
        if !isRoot {
            guard setgid(1000) == 0, setuid(1000) == 0 else { throw Trouble.call("setuid", "1000") }
        }
        var intruder = Intruder(
            root: "", outside: words[1], isRoot: isRoot, device: dev_t(7 << 8 | minor), numbers: Numbers(seed))
        let end = seconds() + time
        while seconds() < end { intruder.step() }
    }

    /// How a program becomes the intruder of a role.
    static func words(_ program: String, _ arguments: [String]) -> [String] {
        let rights = "-all,+mknod,+chown,+setfcap,+dac_override,+fowner,+fsetid,+setgid,+setuid,+sys_chroot"
        return ["setpriv", "--bounding-set", rights, "--clear-groups", program, "intrude"] + arguments
    }

    private static let names =
        ["a", "b", "c", "d", "e", "s", "l", "x.wh.", "secret", "0", ".wh.a", ".wh.s", ".wh..wh..opq", ".wh."]
    /// A place below `own`, where both roles may write.
    private mutating func place() -> String {
        let top = isRoot && numbers.isTrue(oneIn: 4) ? numbers.pick(["etc", "lib", "."]) : "own"
        return "\(root)/\(top)/" + (0...numbers.below(2)).map { _ in numbers.pick(Self.names) }.joined(separator: "/")
    }

    private mutating func step() {
        let (one, other) = (place(), place())
        switch numbers.below(16) {
        case 0, 1, 2: write(one)
        case 3, 4: mkdir(one, 0o755)
        case 5: symlink(target(), one)
        case 6: link(one, other)
        case 7: rename(one, other)
        case 8: _ = Libc.rename(AT_FDCWD, one, AT_FDCWD, other, Libc.exchange)
        case 9: if unlink(one) != 0 { rmdir(one) }
        case 10: node(one)
        case 11: truncate(one, numbers.pick([0, 14, 300_000, 1 << 21]))
        case 12: chmod(one, numbers.pick([0o4755, 0o600, 0o2770, 0o777]))
        default: attribute(one)
        }
        if numbers.isTrue(oneIn: 500) { usleep(20_000) }
    }

    private mutating func target() -> String {
        numbers.pick([
            outside, "\(outside)/secret", "../../../../../..\(outside)", "/", "..", ".", "/etc/shadow", "../lib", "a",
            "l",
        ])
    }

    private mutating func write(_ path: String) {
        let file = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0o644)
        guard file >= 0 else { return }
        defer { close(file) }
        let bytes = Name(repeating: UInt8(ascii: "u"), count: numbers.pick([0, 14, 600, 5000, 300_000]))
        _ = bytes.withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
    }

    private mutating func node(_ path: String) {
        let kind: mode_t = numbers.pick([S_IFIFO, S_IFBLK, S_IFCHR, S_IFSOCK])
        mknod(path, kind | 0o666, kind == S_IFBLK ? device : kind == S_IFCHR ? 0x105 : 0)
    }

    private mutating func attribute(_ path: String) {
        var labels = [
            "user.note", "user.fuseoverlayfs.opaque", "user.fuseoverlayfs.origin", "trusted.overlay.opaque",
            "trusted.overlay.redirect", "trusted.overlay.metacopy", "security.capability", "system.posix_acl_access",
            "user.containers.override_other", "security.selinux", "user.containers.override_stat",
            "security.containers.override_stat", "user.a=b",
        ]
        labels += ["opaque", "redirect", "metacopy", "whiteout", "origin", "upper", "nlink", "impure", "uuid"]
            .map { "user.overlay.\($0)" }
        let values = [
            "y", "x", "", outside, "\(outside)/secret", "/../../../../../../../..\(outside)/secret",
            "../../../..\(outside)",
            "/etc/shadow", "etc/shadow", "0:0:4755", "1000:1000:0644:fifo", "0:0:0644:block-7-0", "/", "..", "a",
        ]
        let (label, value) = (numbers.pick(labels).name, numbers.pick(values).name)
        _ = withCString(path.name) { path in
            withCString(label) { label in
                value.withUnsafeBytes { Libc.setAttribute(path, label, $0.baseAddress, $0.count, 0) }
            }
        }
    }
}
