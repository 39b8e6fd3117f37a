import Glibc

/// How large the trees of a run are: `short` for every test run, `long` for a machine that is left alone with it.
package enum Scale: String, Sendable {
    case short, long
}

/// How often an entry of a tree has something that makes its header long or odd: one in so many; 0 is never.
struct Manner {
    var longOwner = 10
    var oddName = 10
    var attribute = 10
    var manyAttributes = 200
    var accessControl = 25
    var oddTime = 10
    var otherKind = 12
    var link = 12
    var hole = 12
}

/// Makes a tree from a seed by plain system calls: entries of every kind, with contents that say whose they are.
final class TreeMaker {
    var numbers: Numbers
    let scale: Scale
    var manner = Manner()
    /// Files whose names may get further links, with the folders that they are in.
    private var linkable: [(folder: Folder, name: Name)] = []
    private var nextFile: UInt64
    /// Bytes of contents that may still be written.
    var bytesLeft: Int
    private(set) var entries = 0
    /// The bytes that the value of an attribute has at most.
    var largestValue = Int.max

    init(_ numbers: Numbers, _ scale: Scale) {
        self.numbers = numbers
        self.scale = scale
        bytesLeft = scale == .short ? 12 << 20 : 150 << 20
        nextFile = self.numbers.next()
    }

    func occurs(_ oneIn: Int) -> Bool { oneIn > 0 && numbers.isTrue(oneIn: oneIn) }

    // MARK: Names

    /// A name that the folder does not have: short with its number in front, so that none comes twice.
    func name() -> Name {
        entries += 1
        let plain = "\(numbers.pick(["a", "b", "f", "x", "Z", "."]))\(entries)".name
        return occurs(manner.oddName) ? odd(plain) : plain
    }

    private func odd(_ name: Name) -> Name {
        func long(_ count: Int) -> Name {
            name + Name(repeating: UInt8(ascii: "a") + UInt8(entries % 26), count: count - name.count)
        }
        switch numbers.below(12) {
        case 0: return long(255)
        case 1: return long(99 + numbers.below(4))
        case 2: return long(150 + numbers.below(10))
        case 3: return name + "-é-ß-漢".name
        case 4: return name + [0xff, 0xfe, 0x80]
        case 5: return name + "\n\t ".name
        case 6: return name + "=\"'\\*?".name
        case 7: return name + [0x01, 0x7f]
        case 8: return name + Name(repeating: 0xc3, count: 200)
        case 9: return "ä".name + name + "e\u{301}".name
        case 10: return " ".name + name
        default: return "-".name + name
        }
    }

    // MARK: Entries

    /// A file of `size` bytes, with holes now and then.
    func file(_ folder: Folder, size: Int? = nil, sparse: Bool? = nil) throws {
        let name = name()
        let size = min(size ?? numbers.pick([0, 1, 100, 350, 511, 512, 513, 700, 900, 1300, 1800, 5000]), bytesLeft)
        let descriptor = folder.open(name, O_WRONLY | O_CREAT | O_EXCL, 0o600)
        guard descriptor >= 0 else { throw Trouble.call("create", shown(name)) }
        defer { close(descriptor) }
        nextFile &+= 1
        let isSparse = size > 8192 && (sparse ?? occurs(manner.hole))
        let data = isSparse ? holed(size) : [0..<size]
        try Contents(key: nextFile &* 0x1_0000_0001, size: size).write(
            to: descriptor, data: data.filter { !$0.isEmpty })
        bytesLeft -= size
        try dress(folder, name, S_IFREG)
        if linkable.count < 40 { linkable.append((folder, name)) } else { linkable[numbers.below(40)] = (folder, name) }
    }

    /// The data of a file with holes: in front, at the end, in between, or all of it.
    private func holed(_ size: Int) -> [Range<Int>] {
        let block = 4096
        switch numbers.below(6) {
        case 0: return []
        case 1: return [min(size, block * numbers.within(1...8))..<size]
        case 2: return [0..<numbers.below(size + 1)]
        case 3: return [size - 1..<size]
        case 4: return [0..<min(size, 1)]
        default:
            var ranges: [Range<Int>] = []
            var position = numbers.below(2) * block * 4
            while position < size, ranges.count < 60 {
                let end = min(size, position + numbers.within(1...3 * block))
                ranges.append(position..<end)
                position = end + block * numbers.within(1...12)
            }
            return ranges
        }
    }

    /// A directory; its own metadata are set when `body` has filled it.
    func directory(_ folder: Folder, _ body: (Folder) throws -> Void = { _ in }) throws {
        let name = name()
        guard withCString(name, { mkdirat(folder.descriptor, $0, 0o700) }) == 0 else {
            throw Trouble.call("mkdir", shown(name))
        }
        try body(folder.folder(name))
        try dress(folder, name, S_IFDIR)
    }

    /// Anything but a file with contents or a directory with something in it.
    func special(_ folder: Folder) throws {
        let name = name()
        var kind = S_IFLNK
        var made: Int32
        switch numbers.below(8) {
        case 0: return try directory(folder)
        case 1, 2:
            let target = numbers.pick([
                "a".name, "/etc/passwd".name, "../../../..".name, Name(repeating: 0x62, count: 100),
                Name(repeating: 0x63, count: 101), Name(repeating: 0x64, count: 1000), "é".name, [0xff, 0x80],
            ])
            made = withCString(target) { target in withCString(name) { symlinkat(target, folder.descriptor, $0) } }
        default:
            kind = numbers.pick([S_IFIFO, S_IFCHR, S_IFBLK, S_IFSOCK])
            // Numbers of no device that exists; 0:0 would be a whiteout.
            let device = kind == S_IFCHR || kind == S_IFBLK ? dev_t(numbers.pick([0x6107, 0xff_f0ff, 0x1000_ff05])) : 0
            made = withCString(name) { mknodat(folder.descriptor, $0, kind | 0o600, device) }
            // xfs has no room for the largest.
            if made != 0, errno == EINVAL {
                made = withCString(name) { mknodat(folder.descriptor, $0, kind | 0o600, 0x6107) }
            }
        }
        guard made == 0 else { throw Trouble.call("make", shown(name)) }
        try dress(folder, name, kind)
        if kind != S_IFSOCK, linkable.count < 40 { linkable.append((folder, name)) }
    }

    /// One more name of an earlier file.
    func link(_ folder: Folder) throws {
        guard !linkable.isEmpty else { return }
        let first = numbers.pick(linkable)
        let name = name()
        let made = withCString(first.name) { old in
            withCString(name) { linkat(first.folder.descriptor, old, folder.descriptor, $0, 0) }
        }
        guard made == 0 || errno == EMLINK else { throw Trouble.call("link", shown(name)) }
    }

    /// An entry of whatever kind.
    func entry(_ folder: Folder) throws {
        if occurs(manner.otherKind) { return try special(folder) }
        if occurs(manner.link) { return try link(folder) }
        try file(folder)
    }

    // MARK: Metadata

    /// Owner, mode, attributes and times of a new inode.
    private func dress(_ folder: Folder, _ name: Name, _ kind: mode_t) throws {
        let odd: [uid_t] = [3_000_000, 2_097_151, 2_097_152, 4_294_967_294]
        let uid = occurs(manner.longOwner) ? numbers.pick(odd) : numbers.pick([0, 0, 1000])
        let gid = occurs(manner.longOwner) ? numbers.pick(odd) : numbers.pick([0, 0, 42])
        try withCString(name) { pointer in
            guard fchownat(folder.descriptor, pointer, uid, gid, AT_SYMLINK_NOFOLLOW) == 0 else {
                throw Trouble.call("chown", shown(name))
            }
            let mode = numbers.pick([0o644, 0o755, 0o600, 0o4755, 0o2775, 0o1777, 0o000, 0o7777] as [mode_t])
            if kind != S_IFLNK, fchmodat(folder.descriptor, pointer, mode, 0) != 0 {
                throw Trouble.call("chmod", shown(name))
            }
        }
        if kind == S_IFREG || kind == S_IFDIR { addAttributes(folder, name, kind) }
        var times = timespec(tv_sec: 1_500_000_000 + numbers.below(200_000_000), tv_nsec: numbers.below(1_000_000_000))
        if occurs(manner.oddTime) { times.tv_sec = numbers.pick([0, -1, -86_400, 8_589_934_591, 8_589_934_592, 1]) }
        if numbers.isTrue(oneIn: 4) { times.tv_nsec = 0 }
        let set = withCString(name) { utimensat(folder.descriptor, $0, [times, times], AT_SYMLINK_NOFOLLOW) }
        guard set == 0 else { throw Trouble.call("utimensat", shown(name)) }
    }

    /// Attributes that are exported and some that are not. What a file system has no room for is left out: the reference
    /// reads what there is.
    private func addAttributes(_ folder: Folder, _ name: Name, _ kind: mode_t) {
        if occurs(manner.attribute) {
            for _ in 0...numbers.below(3) { folder.set(label(), value(), on: name) }
        }
        if occurs(manner.manyAttributes), largestValue > 1000 {
            // Less than a MiB together: of more the largest are left out, which the reference does not do.
            for index in 0..<numbers.within(20...90) {
                folder.set("user.many.\(index)".name, Name(value().prefix(2500)), on: name)
            }
        }
        if kind == S_IFREG, occurs(manner.attribute * 2) {
            let revision = numbers.pick([2, 3] as [UInt8])
            let value: Name =
                [1, 0, 0, revision] + Name(repeating: 0, count: 16) + (revision == 3 ? [232, 3, 0, 0] : [])
            folder.set("security.capability".name, value, on: name)
        }
        if occurs(manner.accessControl) { folder.set("system.posix_acl_access".name, accessControl(), on: name) }
        if kind == S_IFDIR, occurs(manner.accessControl) {
            folder.set("system.posix_acl_default".name, accessControl(), on: name)
        }
    }

    private func label() -> Name {
        let labels: [Name] = [
            "user.note".name, "user.é".name, "user.".name + [0xff, 0x80], "user.a b".name, "user.x.y.z".name,
            "user.".name + Name(repeating: 0x6e, count: 200), "user.overlay.note".name, "trusted.note".name,
            "user.fuseoverlayfs.note".name, "security.note".name, "user.Overlay.x".name, "user.\n".name,
            "user.a=b".name, "user.containers.override_stat".name,
        ]
        return numbers.pick(labels)
    }

    private func value() -> Name {
        let count = min(largestValue, numbers.pick([0, 1, 20, 100, 400, 900, 2500] + (scale == .long ? [60_000] : [])))
        return (0..<count).map { _ in UInt8(truncatingIfNeeded: numbers.next()) }
    }

    /// A list with one named user and one named group, as `system.posix_acl_*` keeps it.
    private func accessControl() -> Name {
        func entry(_ tag: UInt8, _ permissions: UInt8, _ id: UInt32) -> Name {
            [tag, 0, permissions, 0] + withUnsafeBytes(of: id.littleEndian) { Name($0) }
        }
        return [2, 0, 0, 0] + entry(1, 7, .max) + entry(2, UInt8(numbers.below(8)), 1000) + entry(4, 5, .max)
            + entry(8, UInt8(numbers.below(8)), 3_000_000) + entry(16, UInt8(numbers.below(8)), .max)
            + entry(32, 1, .max)
    }
}
