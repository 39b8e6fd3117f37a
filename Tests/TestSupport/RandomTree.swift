import Glibc

/// Numbers that are the same in every run with one seed.
package struct SeededNumbers: RandomNumberGenerator {
    private var state: UInt64
    package init(seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 &+ 0x1234_5678_9abc_def1 }

    package mutating func next() -> UInt64 {
        // xorshift64*, of Vigna.
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        return state &* 0x2545_f491_4f6c_dd1d
    }

    /// A number below `bound`.
    package mutating func below(_ bound: Int) -> Int { Int(next() >> 33) % bound }
    package mutating func isTrue(oneIn count: Int) -> Bool { below(count) == 0 }
    package mutating func pick<Element>(_ list: [Element]) -> Element { list[below(list.count)] }
}

/// Changes a tree at random, through plain system calls, as programs in a container would.
///
/// Every file that is written gets a time of its own, so that a run does not depend on the clock; some times carry no
/// nanoseconds, and some rewritten files keep size and time.
package struct RandomTree {
    package let root: String
    package var random: SeededNumbers
    private var clock: Int64
    /// Files with several names are left as they are: an overlay with an index shows a change under all of them.
    package var keepsLinkedInodes = false
    /// Attributes and devices that an unprivileged mount cannot have are left out.
    package var privileged = true
    /// What was done, for the message of a failing test.
    package private(set) var log: [String] = []

    private static let names = [
        "a", "b", "c", "d", "a-b", "a.b", "Z", "file", "\\xc3\\xa9", "\\xff\\xfe",
        "long-name-" + String(repeating: "n", count: 100),
        ".hidden", "wh.x", "..x",
    ]

    package init(_ root: String, seed: UInt64, startTime: Int64 = TreeBuilder.time) {
        self.root = root
        random = SeededNumbers(seed: seed)
        clock = startTime
    }

    /// One path: its name, as the builder takes it, and what it is.
    private struct Node {
        var name: String
        var mode: mode_t
        var links: Int
        var size: Int
        var isDirectory: Bool { mode & S_IFMT == S_IFDIR }
        var isFile: Bool { mode & S_IFMT == S_IFREG }
        var isLink: Bool { mode & S_IFMT == S_IFLNK }
    }

    private func path(_ name: String) -> [CChar] { TreeBuilder.terminated(root + "/" + name) }

    /// Everything below the root, parents first, in a fixed order.
    private func nodes() -> [Node] {
        var found: [Node] = []
        var waiting = [""]
        while let directory = waiting.popLast() {
            guard let stream = opendir(path(directory)) else { continue }
            defer { closedir(stream) }
            var names: [String] = []
            while let entry = readdir(stream) {
                let bytes = withUnsafeBytes(of: entry.pointee.d_name) { $0.prefix { $0 != 0 }.map { $0 } }
                if bytes != [46], bytes != [46, 46] { names.append(Self.escaped(bytes)) }
            }
            for name in names.sorted() {
                let full = directory.isEmpty ? name : directory + "/" + name
                var status = stat()
                guard lstat(path(full), &status) == 0 else { continue }
                found.append(
                    Node(name: full, mode: status.st_mode, links: Int(status.st_nlink), size: Int(status.st_size)))
                if status.st_mode & S_IFMT == S_IFDIR { waiting.append(full) }
            }
        }
        return found
    }

    private static func escaped(_ bytes: [UInt8]) -> String {
        bytes.map { byte in
            if byte > 0x20, byte < 0x7f, byte != 0x5c { return String(UnicodeScalar(byte)) }
            let digits = String(byte, radix: 16)
            return "\\x" + (digits.count == 1 ? "0" + digits : digits)
        }.joined()
    }

    /// Does `count` things.
    package mutating func change(_ count: Int) {
        for _ in 0..<count { step() }
    }

    private mutating func step() {
        let all = nodes()
        let directories = [""] + all.filter(\.isDirectory).map(\.name)
        let parent = random.pick(directories)
        let name = parent.isEmpty ? random.pick(Self.names) : parent + "/" + random.pick(Self.names)
        guard parent.split(separator: "/").count < 6 else { return }
        let victim = all.isEmpty ? nil : random.pick(all)
        switch random.below(28) {
        case 0...5: create(name)
        case 6...8: note("mkdir \(name)", mkdir(path(name), random.pick([0o755, 0o700, 0o2775, 0o1777])))
        case 9: symbolicLink(name)
        case 10: node(name)
        case 11: if let victim, !victim.isDirectory { link(victim, name) }
        case 12, 13: if let victim { remove(victim) }
        case 14: if let victim, victim.isDirectory { replaceDirectory(victim, all) }
        case 15...18: if let victim { rename(victim, name) }
        case 19, 20: if let victim { rewrite(victim) }
        case 21: if let victim { changeMode(victim) }
        case 22: if let victim { changeOwner(victim) }
        case 23: if let victim { touch(victim) }
        case 24, 25: if let victim { attribute(victim) }
        case 26: if let victim { openOnly(victim) }
        default: if let victim { exchange(victim, random.pick(all)) }
        }
    }

    private mutating func note(_ text: @autoclosure () -> String, _ result: Int32) {
        if result == 0 { log.append(text()) }
    }

    // MARK: New names

    private mutating func create(_ name: String) {
        var status = stat()
        guard lstat(path(name), &status) != 0 else { return }
        write(name, size: random.pick([0, 1, 5, 511, 512, 513, 4096, 9000]))
    }

    private mutating func write(_ name: String, size: Int) {
        let descriptor = open(path(name), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { return }
        let first = UInt8(truncatingIfNeeded: random.next())
        let bytes = (0..<size).map { first &+ UInt8(truncatingIfNeeded: $0) }
        _ = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, size) }
        close(descriptor)
        log.append("write \(name) \(size)")
        setTime(name)
    }

    /// A new time for a path; without nanoseconds in one of three cases.
    private mutating func setTime(_ name: String) {
        clock += Int64(1 + random.below(3))
        let time = timespec(tv_sec: Int(clock), tv_nsec: random.isTrue(oneIn: 3) ? 0 : 1 + random.below(999_999_999))
        utimensat(AT_FDCWD, path(name), [time, time], AT_SYMLINK_NOFOLLOW)
    }

    private mutating func symbolicLink(_ name: String) {
        let target = random.pick(["a", "../b", "/abs/c", "dangling", "a/b/c/d", "\\xff", "."])
        guard symlink(TreeBuilder.terminated(target), path(name)) == 0 else { return }
        log.append("symlink \(name)")
        setTime(name)
    }

    private mutating func node(_ name: String) {
        let kind = privileged ? random.below(3) : 0
        let mode: mode_t = kind == 0 ? S_IFIFO | 0o644 : S_IFCHR | 0o600
        guard mknod(path(name), mode, kind == 0 ? 0 : dev_t(0x100 + UInt64(kind) * 2)) == 0 else { return }
        log.append("mknod \(name)")
        setTime(name)
    }

    private mutating func link(_ victim: Node, _ name: String) {
        note("link \(victim.name) \(name)", linkat(AT_FDCWD, path(victim.name), AT_FDCWD, path(name), 0))
    }

    // MARK: Names that go or move

    private mutating func remove(_ victim: Node) {
        if victim.isDirectory {
            removeTree(victim.name)
        } else {
            note("unlink \(victim.name)", unlink(path(victim.name)))
        }
    }

    private mutating func removeTree(_ name: String) {
        log.append("rm -r \(name)")
        for node in nodes().reversed() where node.name.hasPrefix(name + "/") && !node.isDirectory {
            unlink(path(node.name))
        }
        let below = nodes().filter { $0.name == name || $0.name.hasPrefix(name + "/") }
        for node in below.sorted(by: { $0.name.count > $1.name.count }) { rmdir(path(node.name)) }
    }

    /// Removes a directory and makes it anew, with some of its old names.
    private mutating func replaceDirectory(_ victim: Node, _ all: [Node]) {
        let inside = all.filter { $0.name.hasPrefix(victim.name + "/") }
        removeTree(victim.name)
        guard mkdir(path(victim.name), 0o755) == 0 else { return }
        log.append("mkdir \(victim.name) again")
        for node in inside where random.isTrue(oneIn: 2) {
            if node.isDirectory {
                mkdir(path(node.name), 0o755)
            } else if node.isFile {
                write(node.name, size: node.size)
            }
        }
    }

    private mutating func rename(_ victim: Node, _ name: String) {
        guard !name.hasPrefix(victim.name + "/") else { return }
        note("rename \(victim.name) \(name)", Glibc.rename(path(victim.name), path(name)))
    }

    private mutating func exchange(_ left: Node, _ right: Node) {
        guard left.name != right.name, !left.name.hasPrefix(right.name + "/"), !right.name.hasPrefix(left.name + "/")
        else { return }
        let between = path("between")
        guard Glibc.rename(path(left.name), between) == 0 else { return }
        let moved = Glibc.rename(path(right.name), path(left.name)) == 0
        note("exchange \(left.name) \(right.name)", Glibc.rename(between, path(moved ? right.name : left.name)))
    }

    // MARK: Inodes that change

    private func mayChange(_ victim: Node) -> Bool { victim.isDirectory || !(keepsLinkedInodes && victim.links > 1) }

    private mutating func rewrite(_ victim: Node) {
        guard victim.isFile, mayChange(victim) else { return }
        switch random.below(4) {
        case 0:
            note("truncate \(victim.name)", truncate(path(victim.name), victim.size / 2))
            setTime(victim.name)
        case 1:
            var status = stat()
            guard lstat(path(victim.name), &status) == 0, status.st_mtim.tv_nsec == 0 else { return }
            write(victim.name, size: victim.size)
            utimensat(AT_FDCWD, path(victim.name), [status.st_mtim, status.st_mtim], AT_SYMLINK_NOFOLLOW)
            log.append("keep the time of \(victim.name)")
        default: write(victim.name, size: victim.size + random.below(3))
        }
    }

    private mutating func changeMode(_ victim: Node) {
        guard !victim.isLink, mayChange(victim) else { return }
        note("chmod \(victim.name)", chmod(path(victim.name), random.pick([0o600, 0o644, 0o755, 0o4755, 0o700])))
    }

    private mutating func changeOwner(_ victim: Node) {
        guard mayChange(victim) else { return }
        note(
            "chown \(victim.name)",
            lchown(path(victim.name), uid_t(random.pick([0, 1, 40001])), gid_t(random.below(3))))
    }

    private mutating func touch(_ victim: Node) {
        guard mayChange(victim) else { return }
        log.append("touch \(victim.name)")
        setTime(victim.name)
    }

    private mutating func attribute(_ victim: Node) {
        guard victim.isFile || victim.isDirectory, mayChange(victim) else { return }
        let setsCapability = privileged && victim.isFile && random.isTrue(oneIn: 2)
        let label = setsCapability ? "security.capability" : random.pick(["user.one", "user.two"])
        let value = setsCapability ? capability(revision: 2) : [UInt8](repeating: 0x61, count: random.below(20))
        log.append("setxattr \(victim.name) \(label)")
        do { try TreeBuilder(root).attribute(victim.name, label, value) } catch { log.append("\(error)") }
    }

    /// Copies a file up without changing it.
    private mutating func openOnly(_ victim: Node) {
        guard victim.isFile else { return }
        let descriptor = open(path(victim.name), O_RDWR | O_NOFOLLOW | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        close(descriptor)
        log.append("open \(victim.name)")
    }
}
