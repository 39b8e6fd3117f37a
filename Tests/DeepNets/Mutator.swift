import Glibc

/// The process that changes a tree: `ldiff-deep mutate TOP SCALE SEED SECONDS`. It counts what it does in `TOP/done`.
struct Mutator {
    private let tree: ChangingTree
    private var numbers: Numbers
    private var states: [Int: Int] = [:]
    private var counts: [String: Int] = [:]

    static func run(_ words: [String]) throws {
        guard words.count == 4, let scale = Scale(rawValue: words[1]), let seed = UInt64(words[2]),
            let time = Double(words[3])
        else { throw Trouble("usage: mutate TOP SCALE SEED SECONDS") }
        var mutator = Mutator(tree: ChangingTree(words[0], scale), numbers: Numbers(seed))
        try mutator.change(until: seconds() + time)
    }

    private init(tree: ChangingTree, numbers: Numbers) {
        self.tree = tree
        self.numbers = numbers
    }

    /// Works in bursts: quick ones on a few files, and pauses in which a reader may get through.
    private mutating func change(until end: Double) throws {
        var told = 0.0
        while seconds() < end {
            // Names that change places do so a thousand times while a file of many pieces is written.
            let isQuick = numbers.isTrue(oneIn: 2)
            let kinds: [ChangingTree.Kind] =
                isQuick
                ? [.exchanged, .exchanged, .directory] : numbers.some(ChangingTree.Kind.allCases, numbers.within(1...3))
            let few = numbers.isTrue(oneIn: 2)
            let pause = UInt32(numbers.pick([0, 0, 100, 1000, 8000]))
            let burst = seconds() + 0.4
            for _ in 0..<numbers.pick(isQuick ? [30, 300, 5000] : [3, 30, 100]) where seconds() < burst {
                let kind = numbers.pick(kinds)
                let count = tree.counts[kind] ?? 1
                try step(kind, numbers.below(few ? min(3, count) : count))
                if pause > 0 { usleep(pause) }
            }
            usleep(UInt32(numbers.pick([0, 1000, 10_000, 60_000])))
            if seconds() > told + 0.1 {
                told = seconds()
                try tell()
            }
        }
        try tell()
    }

    private func tell() throws {
        let text = counts.map { "\($0.key) \($0.value)\n" }.joined()
        try writeSmall("\(tree.top)/done.new", text.name)
        rename("\(tree.top)/done.new", "\(tree.top)/done")
    }

    private mutating func count(_ what: String, _ result: Int32) {
        if result == 0 { counts[what, default: 0] += 1 }
    }

    /// The next state of a file.
    private mutating func advance(_ file: Int) -> Int {
        states[file, default: 0] += 1
        return states[file] ?? 0
    }

    private mutating func step(_ kind: ChangingTree.Kind, _ number: Int) throws {
        let path = "\(tree.tree)/\(kind.rawValue)/\(number)"
        let file = kind.first + number
        switch kind {
        case .replaced: try replace(path, file)
        case .shrunk: try shrink(path, file)
        case .growing: try grow(path, file)
        case .filled: try fill(path, file)
        case .exchanged:
            count("exchanges", exchange(path, "\(tree.pool)/\(number)-\(numbers.pick(ChangingTree.alternates))"))
        case .linked: try link(path, file)
        case .directory: try move(path, number, file)
        }
    }

    private func exchange(_ one: String, _ other: String) -> Int32 {
        Libc.rename(AT_FDCWD, one, AT_FDCWD, other, Libc.exchange)
    }

    private mutating func replace(_ path: String, _ file: Int) throws {
        let new = "\(tree.pool)/new"
        try ChangingTree.writeState(new, file, advance(file))
        count("replacements", rename(new, path))
    }

    /// Cut to nothing, and whole again under a new inode: nobody ever sees zeros where it held data.
    private mutating func shrink(_ path: String, _ file: Int) throws {
        if numbers.isTrue(oneIn: 2) {
            count("shrinks", truncate(path, 0))
        } else {
            let new = "\(tree.pool)/new"
            try ChangingTree.writeSparse(new, file, advance(file))
            count("replacements", rename(new, path))
        }
    }

    private mutating func grow(_ path: String, _ file: Int) throws {
        let descriptor = open(path, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Trouble.call("open", path) }
        defer { close(descriptor) }
        let size = Int(lseek(descriptor, 0, SEEK_END))
        if size > 3_000_000 || numbers.isTrue(oneIn: 8) {
            count("shrinks", ftruncate(descriptor, 0))
        } else {
            let more = numbers.within(1...3000) * Records.size
            try Records.write(to: descriptor, file: file, state: advance(file), [size..<size + more])
            count("growths", 0)
        }
    }

    /// Fills a block of a hole, or begins with a new file.
    private mutating func fill(_ path: String, _ file: Int) throws {
        guard !numbers.isTrue(oneIn: 12) else {
            let new = "\(tree.pool)/new"
            try ChangingTree.writeSparse(new, file, advance(file))
            return count("replacements", rename(new, path))
        }
        let descriptor = open(path, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Trouble.call("open", path) }
        defer { close(descriptor) }
        let state = states[file] ?? 0
        let block = numbers.below(ChangingTree.sparseSize(file, state) / 4096) * 4096
        try Records.write(to: descriptor, file: file, state: state, [block..<block + 4096])
        count("fillings", 0)
    }

    /// One of the names `N-0` to `N-4` of an inode is made, removed, or begins a new inode.
    private mutating func link(_ path: String, _ file: Int) throws {
        let (one, other) = ("\(path)-\(numbers.below(5))", "\(path)-\(numbers.below(5))")
        switch numbers.below(4) {
        case 0, 1: count("links", Glibc.link(one, other))
        case 2: count("unlinks", unlink(one))
        default:
            let new = "\(tree.pool)/new"
            try ChangingTree.writeState(new, file, advance(file))
            count("replacements", rename(new, one))
        }
    }

    private mutating func move(_ path: String, _ number: Int, _ file: Int) throws {
        let there = "\(tree.tree)/e/\(number)"
        switch numbers.below(6) {
        case 0: count("moves", rename(path, there))
        case 1: count("moves", rename(there, path))
        case 2:
            let inside = numbers.below(ChangingTree.filesInDirectory)
            let new = "\(tree.pool)/new"
            try ChangingTree.writeState(new, file + inside * 100, advance(file + inside * 100))
            // Through a link that stands for the directory it would go outside.
            var status = stat()
            guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { return }
            count("replacements", rename(new, "\(path)/\(inside)"))
        default: count("exchanges", exchange(path, "\(tree.pool)/d\(number)-link"))
        }
    }
}
