import Glibc

/// A tree that a process changes while others read it. Which file a name means, and which states it can have, shows in the name,
/// so that a reader's result can be judged without knowing when what happened.
///
/// `r/N` are replaced by renaming; `s/N` too, and are sparse and cut to nothing; `g/N` are cut to nothing and grow; `h/N` are
/// sparse, and their holes are filled; `x/N` change places with devices, FIFOs, links, directories and other files; `l/N-K` are
/// names of inodes with several; `d/N` change places with links to directories outside of the tree, or go to `e/N`.
struct ChangingTree {
    let top: String
    var tree: String { top + "/tree" }
    /// What changes places with names of the tree, and what will replace them.
    var pool: String { top + "/pool" }
    /// What no reader of the tree may touch.
    var outside: String { top + "/outside" }
    /// The tree as it was made.
    var base: String { top + "/base" }
    let counts: [Kind: Int]

    enum Kind: String, CaseIterable {
        case replaced = "r"
        case shrunk = "s"
        case growing = "g"
        case filled = "h"
        case exchanged = "x"
        case linked = "l"
        case directory = "d"

        /// The number of the first file of the kind.
        var first: Int { (Kind.allCases.firstIndex(of: self) ?? 0) * 10_000 }
    }

    /// Other files that change places with `x/N`, and what lies in a directory that does.
    static let otherFirst = 80_000
    static let innerFirst = 90_000
    static let timeOfState = 1_000_000_000
    static let outsideMarker = "OUTSIDE-MARKER-7f3a".name
    static let deviceMarker = "DEVICE-MARKER-91c4".name
    static let filesInDirectory = 6
    /// What changes places with a file: the names end so in the pool.
    static let alternates = ["block", "fifo", "link", "directory", "other"]

    init(_ top: String, _ scale: Scale) {
        self.top = top
        let factor = scale == .short ? 1 : 3
        counts = [
            .replaced: 14 * factor, .shrunk: 4 * factor, .growing: 4 * factor, .filled: 4 * factor,
            .exchanged: 8 * factor, .linked: 5 * factor, .directory: 5 * factor,
        ]
    }

    /// The bytes that a state of a file has.
    static func size(_ file: Int, _ state: Int) -> Int {
        var numbers = Numbers(UInt64(file) << 32 | UInt64(state))
        // The first files are of many pieces.
        let large = [300_000, 700_000, 1_200_000, 2_500_000]
        let count = file % 10 < 2 ? numbers.pick(large) : numbers.pick([64, 480, 512, 5000, 70_000, 262_144, 262_176])
        return count / Records.size * Records.size
    }

    /// Where a state of a sparse file holds data when it is made.
    static func data(_ file: Int, _ state: Int) -> [Range<Int>] {
        var numbers = Numbers(UInt64(file) << 32 | UInt64(state) | 1 << 31)
        let size = sparseSize(file, state)
        var ranges: [Range<Int>] = []
        var position = numbers.below(2) * 65_536
        while position + 65_536 <= size {
            ranges.append(position..<position + numbers.within(1...8) * 4096)
            position += 65_536 * numbers.within(1...4)
        }
        return ranges
    }

    static func sparseSize(_ file: Int, _ state: Int) -> Int { 131_072 + (file * 7 + state) % 12 * 131_072 }

    // MARK: Making

    /// Makes all of it; `device` is what the block devices are.
    func make(device: LoopDevice) throws {
        for path in [top, tree, pool, outside] { try Ground.directory(path) }
        for kind in Kind.allCases { try Ground.directory("\(tree)/\(kind.rawValue)") }
        try Ground.directory("\(tree)/e")
        try writeSmall("\(outside)/secret", Self.outsideMarker)
        for kind in Kind.allCases {
            for number in 0..<(counts[kind] ?? 0) { try make(kind, number, device) }
        }
        try tool("cp", "-a", "--sparse=always", tree, base)
    }

    private func make(_ kind: Kind, _ number: Int, _ device: LoopDevice) throws {
        let path = "\(tree)/\(kind.rawValue)/\(number)"
        let file = kind.first + number
        switch kind {
        case .replaced: try Self.writeState(path, file, 0)
        case .shrunk, .filled: try Self.writeSparse(path, file, 0)
        case .growing: try Self.writeState(path, file, 0)
        case .linked: try Self.writeState("\(path)-0", file, 0)
        case .exchanged:
            try Self.writeState(path, file, 0)
            let slot = "\(pool)/\(number)"
            let parts = device.number.split(separator: ":")
            try tool("mknod", "\(slot)-block", "b", String(parts[0]), String(parts[1]))
            try tool("mkfifo", "\(slot)-fifo")
            guard symlink("\(outside)/secret", "\(slot)-link") == 0 else { throw Trouble.call("symlink", slot) }
            try Ground.directory("\(slot)-directory")
            try Self.writeState("\(slot)-directory/inner", Self.innerFirst + number, 0)
            try Self.writeState("\(slot)-other", Self.otherFirst + number, 0)
        case .directory:
            try Ground.directory(path)
            try Ground.directory("\(outside)/\(number)")
            guard symlink("\(outside)/\(number)", "\(pool)/d\(number)-link") == 0 else {
                throw Trouble.call("symlink", path)
            }
            for inside in 0..<Self.filesInDirectory {
                try Self.writeState("\(path)/\(inside)", file + inside * 100, 0)
                try writeSmall("\(outside)/\(number)/\(inside)", Self.outsideMarker)
            }
        }
    }

    /// Writes a state of a file, with the time that says which it is.
    static func writeState(_ path: String, _ file: Int, _ state: Int) throws {
        try write(path, state, size(file, state)) { descriptor, size in
            try Records.write(to: descriptor, file: file, state: state, [0..<size])
        }
    }

    static func writeSparse(_ path: String, _ file: Int, _ state: Int) throws {
        try write(path, state, sparseSize(file, state)) { descriptor, size in
            try Records.write(to: descriptor, file: file, state: state, data(file, state))
            if ftruncate(descriptor, size) != 0 { throw Trouble.call("ftruncate", path) }
        }
    }

    private static func write(_ path: String, _ state: Int, _ size: Int, _ body: (Int32, Int) throws -> Void) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw Trouble.call("create", path) }
        defer { close(descriptor) }
        try body(descriptor, size)
        let time = timespec(tv_sec: timeOfState + state, tv_nsec: 0)
        guard futimens(descriptor, [time, time]) == 0 else { throw Trouble.call("futimens", path) }
    }
}
