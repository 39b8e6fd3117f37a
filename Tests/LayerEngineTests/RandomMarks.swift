import Glibc
import LayerModel
import TestSupport

/// Puts attributes of every name that overlayfs, fuse-overlayfs and containers/storage know on random files and directories.
struct RandomMarks {
    /// Who writes them.
    enum Author: String, Sendable, CaseIterable {
        /// Anyone in a container: `user.` attributes on his own files.
        case user
        /// The kernel's own namespace; only root of the host can.
        case trusted
        /// The namespace of mounts with `userxattr`, written behind the mount's back.
        case mountOwner
    }

    private(set) var random: SeededNumbers
    private let author: Author
    /// Paths that lead out of the trees, to what must never be seen.
    private let waysOut: [String]
    private(set) var log: [String] = []

    /// One in so many is marked: many at once, or so few that what the rest does shows.
    private let spacing: Int

    init(_ author: Author, seed: UInt64, waysOut: [String]) {
        self.author = author
        spacing = [3, 10, 30][Int(seed % 3)]
        self.waysOut = waysOut
        random = SeededNumbers(seed: seed)
    }

    private static let marks = [
        "opaque", "redirect", "redirect", "metacopy", "whiteout", "origin", "impure", "nlink", "uuid", "protattr",
        "upper",
        "overlay.opaque",
    ]
    private static let others = [
        "user.fuseoverlayfs.opaque", "user.fuseoverlayfs.origin", "user.fuseoverlayfs.override_stat",
        "user.containers.override_stat", "user.rootlesscontainers", "user.aufs.opaque",
    ]

    /// Marks a part of what lies in a directory.
    mutating func decorate(_ root: String) throws {
        let builder = try TreeBuilder(root)
        let entries = try TreeSnapshot(root, ignoring: .root).entries.sorted { $0.key < $1.key }
        for (path, entry) in entries where entry.kind == .regular || entry.kind == .directory {
            guard random.isTrue(oneIn: spacing) else { continue }
            let (name, value) = (pickName(entry.kind), pickValue())
            // Some are refused: a value that the kernel knows to be wrong.
            guard (try? builder.attribute(path, name, value)) != nil else { continue }
            log.append("\(root)/\(path): \(name) = \(escapedText(value))")
            // Most redirects of files are read only beside this one.
            if name.hasSuffix("overlay.redirect"), entry.kind == .regular, random.isTrue(oneIn: 2) {
                let metacopy = String(name.dropLast("redirect".count)) + "metacopy"
                try? builder.attribute(path, metacopy, [])
                log.append("\(root)/\(path): \(metacopy)")
            }
        }
    }

    private mutating func pickName(_ kind: EntryKind) -> String {
        if random.isTrue(oneIn: 5) { return random.pick(Self.others) }
        return (author == .trusted ? "trusted.overlay." : "user.overlay.") + random.pick(Self.marks)
    }

    private mutating func pickValue() -> [UInt8] {
        switch random.below(12) {
        case 0, 1: return Array("y".utf8)
        case 2: return Array(random.pick(["x", "", "n", "yy", "U+1", "L-1", "0:0:4755", "0:0:4755:fifo"]).utf8)
        case 3, 4: return Array(random.pick(["a", "b", "/a", "/b/c", "/a-b", "file", "/d/file", "nothing"]).utf8)
        case 5:
            return Array(random.pick(["a/b", "//a", "/a/", "/", ".", "..", "/..", "/a/..", "/nothing/..", "/."]).utf8)
        case 6: return [UInt8](repeating: UInt8(ascii: "n"), count: random.pick([255, 256, 300]))
        case 7: return Array("/a".utf8) + [0] + Array("/..".utf8)
        case 8: return (0..<random.below(40)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        default: return Array(random.pick(waysOut).utf8)
        }
    }
}
