import Glibc
import TestSupport
import Testing

/// A recording of everything below a directory: entries with their inodes, modes, owners, sizes, times and links, and the
/// mounts. Times of access are left out.
struct Neighbourhood {
    private let root: String
    private var entries: [String: Entry] = [:]
    private var mounts: [String]

    private struct Entry: Equatable {
        /// Kind, inode, mode, owner, group, link.
        var identity: String
        /// Size, time of modification, time of change.
        var state: String
    }

    /// `hasLinks`: files get and lose further names by right, which changes their time of change.
    init(_ root: String, hasLinks: Bool) throws {
        self.root = root
        let format = "%P\\t%y %i %m %U %G %l\\t%s %T@ \(hasLinks ? "" : "%C@")\\n"
        let found = try runProgram(["find", root, "-printf", format])
        guard found.status == 0 else { throw TestFailure("find \(root): \(found.errors)") }
        for line in found.lines {
            let parts = line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 3 else { throw TestFailure("find said \(line)") }
            // What shows unions of aufs in tests keeps something beside the store.
            if parts[0].hasPrefix(".pretended-") || parts[0].isEmpty { continue }
            entries[parts[0]] = Entry(identity: parts[1], state: parts[2])
        }
        let table = String(decoding: try readFile("/proc/thread-self/mountinfo"), as: UTF8.self)
        mounts = table.split(separator: "\n").compactMap { line in
            let fields = line.split(separator: " ").map(String.init)
            guard fields[4].hasPrefix(root + "/") else { return nil }
            // Without the numbers that each mount gets.
            return fields[2...].joined(separator: " ")
        }.sorted()
    }

    /// What one thing may change.
    struct Allowed {
        /// Paths that may come, go and change, with all below them; below the recorded directory.
        var all: [String] = []
        /// Directories whose size and times may change, as names in them come and go.
        var times: [String] = []
        /// Names of this length in this directory may come and go.
        var links: String?
        /// Mount points that may come and go.
        var mounts: [String] = []
    }

    /// The differences between this recording and an earlier one that were not to be.
    func unexpected(since before: Neighbourhood, _ allowed: Allowed) -> [String] {
        var found: [String] = []
        for path in Set(entries.keys).union(before.entries.keys).sorted() {
            let (old, new) = (before.entries[path], entries[path])
            if old == new || allowed.all.contains(where: { path == $0 || path.hasPrefix($0 + "/") }) { continue }
            if let links = allowed.links, path.hasPrefix(links + "/"), path.utf8.count == links.utf8.count + 27 {
                continue
            }
            guard let new else {
                found.append("gone: \(path)")
                continue
            }
            guard let old else {
                found.append("new: \(path)")
                continue
            }
            if old.identity == new.identity, allowed.times.contains(path) { continue }
            found.append("\(path): \(old) became \(new)")
        }
        let gone = before.mounts.filter { !mounts.contains($0) }
        let come = mounts.filter { !before.mounts.contains($0) }
        for mount in gone + come {
            let point = String(mount.split(separator: " ")[2].dropFirst(root.utf8.count + 1))
            if !allowed.mounts.contains(point) {
                found.append("\(gone.contains(mount) ? "unmounted" : "mounted"): \(mount)")
            }
        }
        return found
    }
}

/// What other programs and people keep in a store: files, links, directories with names like those of layers and of ours,
/// copies of layers, mounts, locks.
final class Bystanders {
    let store: DriverStore
    /// Ids under which something lies that is no layer.
    private(set) var names: [String] = []
    private var mounted: [String] = []
    private var locks: [Int32] = []

    init(_ store: DriverStore) throws {
        self.store = store
        let isAUFS = store.facts.name == .aufs
        try neighbours()
        try TreeBuilder.make(store.home + "/" + (isAUFS ? "diff" : ".")) { tree in
            // Of Docker's form, which aufs tells of.
            let hex = isAUFS ? "0123" : String(repeating: "0123456789abcdef", count: 4)
            for name in ["photos", "backup", hex, "9-removing", "check-overlayfs-support12", "sw-upgrade"] {
                try tree.directory(name, 0o755)
                try tree.file("\(name)/letter", "dear \(name)")
                try tree.directory("\(name)/empty")
                if OverlayNames.mayBeID(name, store.facts) { names.append(name) }
            }
            try tree.directory("photos/bind")
            try tree.directory("nothing")
            names.append("nothing")
            try tree.file("notes.txt", "notes")
            try tree.link(symbolic: "linked", to: "/etc")
            try tree.link(symbolic: "dangling", to: "../gone/diff")
            try tree.fifo("pipe")
            names += ["notes.txt", "linked", "dangling", "pipe"]
            // Like our own, but for what is in them.
            try tree.directory(".ldiff-contents-0123456789abcdef")
            try tree.file(".ldiff-contents-0123456789abcdef/letter", "mine")
        }
        try likeOurs()
        try TreeBuilder.make(store.home) { try $0.directory("mounted") }
        try mount("tmpfs", "tmpfs", store.home + "/mounted", 0)
        try writeFile(store.home + "/mounted/file", Array("in memory".utf8))
        let photos = store.home + (isAUFS ? "/diff" : "") + "/photos"
        try mount(store.ground.root + "/neighbour", "none", photos + "/bind", UInt(MS_BIND))
        if !isAUFS { names.append("mounted") }
        for path in [photos, store.home + "/tempdirs/temp-dir-abc"] { try lock(path) }
        if isAUFS {
            try TreeBuilder.make(store.home + "/layers") { try $0.file("list-of-friends", "Anna\nBert\n") }
            try TreeBuilder.make(store.home + "/mnt") { tree in
                try tree.directory("stick")
                try tree.file("stick/file", "x")
            }
            names.append("list-of-friends")
        }
    }

    /// Beside the store.
    private func neighbours() throws {
        try TreeBuilder.make(store.ground.root) { tree in
            try tree.directory("neighbour")
            try tree.file("neighbour/file", "next door")
            try tree.file(".\(store.facts.name.rawValue).lock", "somebody's lock")
            try tree.directory("\(store.facts.name.rawValue)-old")
        }
    }

    /// Names that only this program gives.
    private func likeOurs() throws {
        if access(store.home + "/tempdirs", F_OK) != 0 { mkdir(store.home + "/tempdirs", 0o700) }
        try TreeBuilder.make(store.home + "/tempdirs") { tree in
            for name in [
                "ldiff-old-photos", "ldiff-new-0123456789abcdef", "ldiff-old-0123456789abcdef", "temp-dir-abc",
            ] {
                try tree.directory(name)
                try tree.file("\(name)/letter", "mine")
            }
            try tree.file("temp-dir-abc.lock", "")
            try tree.file("ldiff-new-fedcba9876543210", "a file")
        }
        let links = store.home + "/l"
        if access(links, F_OK) == 0 {
            try TreeBuilder.make(links) { tree in
                try tree.file("README", "x")
                try tree.link(symbolic: "elsewhere", to: "../nowhere/diff")
                try tree.file(String(repeating: "A", count: 26), "no link")
            }
        }
    }

    /// A copy that somebody made of a layer, to keep it.
    func copyLayer(_ id: String) throws {
        guard store.facts.name != .aufs else { return }
        let result = try runProgram(["cp", "-a", "\(store.home)/\(id)", "\(store.home)/copy-of-\(id)"])
        guard result.status == 0 else { throw TestFailure("cp: \(result.errors)") }
        // In the first overlay driver's layout nothing tells a copy from a layer.
        if store.facts.name != .overlay { names.append("copy-of-\(id)") }
    }

    /// Docker unpacks beside what makes a layer of the driver overlay.
    func unpackAsDocker(_ id: String) throws {
        guard store.facts.name == .overlay else { return }
        try TreeBuilder.make("\(store.home)/\(id)") { tree in
            try tree.directory("tmproot123456789")
            try tree.file("tmproot123456789/half", "of a layer")
        }
    }

    private func mount(_ source: String, _ type: String, _ target: String, _ flags: UInt) throws {
        guard Glibc.mount(source, target, type, flags, nil) == 0 else {
            throw TestFailure("mount \(target): \(String(cString: strerror(errno)))")
        }
        mounted.append(target)
    }

    private func lock(_ path: String) throws {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0, flock(file, LOCK_EX | LOCK_NB) == 0 else { throw TestFailure("lock \(path)") }
        locks.append(file)
    }

    func leave() {
        for file in locks { close(file) }
        locks = []
        for target in mounted.reversed() { umount2(target, 0) }
        mounted = []
    }

    deinit { leave() }
}

/// Which names the drivers keep for themselves.
enum OverlayNames {
    static func mayBeID(_ name: String, _ facts: DriverFacts) -> Bool {
        if facts.name == .aufs { return !name.hasSuffix("-removing") }
        return !name.hasPrefix("check-overlayfs-support")
    }
}
