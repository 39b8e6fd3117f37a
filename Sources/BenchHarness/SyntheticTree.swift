import Glibc
import LayerModel

/// A tree made by code: the same bytes, modes and times on every machine.
struct SyntheticTree {
    /// What the files hold.
    enum Shape: Equatable {
        /// Mostly small text files, some large ones, links: 18 kB an entry in the mean.
        case mixed
        /// Empty and tiny files: names and metadata are the work.
        case tiny
    }

    var shape: Shape
    /// Entries below the root.
    var entries: Int

    private static let time = 1_700_000_000

    /// Makes it at `path`, which must not exist; `progress` gets parts of 1.
    func make(at path: String, progress: (Double) -> Void) throws(BenchFailure) {
        var writer = try Writer(path, text: shape == .mixed ? Self.text : Array(Self.text.prefix(512)))
        defer { writer.closeAll() }
        let total = entries
        var reported = 0
        while writer.made < total {
            try step(&writer)
            if writer.made - reported > 500 {
                reported = writer.made
                progress(Double(reported) / Double(total))
            }
        }
        try writer.finish()
    }

    /// One directory with its files: every third lies in the one before, so there are chains and wide places.
    private func step(_ writer: inout Writer) throws(BenchFailure) {
        Cleanup.shared.stopAtSignal()
        let number = writer.directories
        if number % 3 != 0, writer.depth < 60 {} else { writer.leaveAll() }
        try writer.enter("d\(number)")
        let files = shape == .tiny ? 40 + Int(writer.random() % 120) : 8 + Int(writer.random() % 32)
        for index in 0..<files where writer.made < entries {
            let dice = writer.random()
            if shape == .tiny {
                try writer.file("f\(index).c", size: index % 3 == 0 ? Int(dice % 200) : 0)
            } else if dice % 29 == 0, index > 0 {
                try writer.symbolicLink("link\(index)", to: "file\(index - 1)-source.c")
            } else if dice % 97 == 0, index > 0, writer.lastFile != nil {
                try writer.hardLink("again\(index)")
            } else {
                try writer.file("file\(index)-source.c", size: Self.size(dice), mode: dice % 11 == 0 ? 0o755 : 0o644)
            }
        }
    }

    /// Sizes of files in a source tree: half below 4 KiB, most below 32 KiB, one in 700 some MiB.
    private static func size(_ dice: UInt64) -> Int {
        let fine = Int(dice >> 32 % 4096)
        switch dice % 700 {
        case 0: return (4 << 20) + fine * 512
        case 1..<30: return 0
        case 30..<350: return fine
        case 350..<650: return 4096 + fine * 5
        default: return 32_768 + fine * 24
        }
    }

    /// 1 MiB of words, compressible about as source code is.
    private static let text: [UInt8] = {
        let words = ["static ", "int ", "return ", "struct ", "layer", "(", ");\n", "{\n", "}\n", " = ", "->", "size"]
        var random = Writer.Random()
        var text: [UInt8] = []
        text.reserveCapacity(1 << 20)
        while text.count < 1 << 20 {
            let dice = random.next()
            if dice % 4 == 0 {
                text += Array(String(dice >> 8 % 100_000, radix: 36).utf8.prefix(5))
            } else {
                text += Array(words[Int(dice >> 8 % UInt64(words.count))].utf8)
            }
        }
        return text
    }()

    /// Writes entries relative to open directories.
    private struct Writer {
        struct Random {
            var state: UInt64 = 0x9e37_79b9_7f4a_7c15
            mutating func next() -> UInt64 {
                state ^= state << 13
                state ^= state >> 7
                state ^= state << 17
                return state &* 0x2545_f491_4f6c_dd1d
            }
        }

        private(set) var made = 0
        private(set) var directories = 0
        private(set) var lastFile: String?
        private var open: [Int32] = []
        private var generator = Random()
        private let text: [UInt8]

        var depth: Int { open.count - 1 }

        init(_ path: String, text: [UInt8]) throws(BenchFailure) {
            self.text = text
            guard mkdir(path, 0o755) == 0 else { throw Self.failure("create \(path)") }
            let root = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            guard root >= 0 else { throw Self.failure("open \(path)") }
            open = [root]
        }

        mutating func random() -> UInt64 { generator.next() }

        mutating func enter(_ name: String) throws(BenchFailure) {
            let parent = open[open.count - 1]
            guard mkdirat(parent, name, 0o755) == 0 else { throw Self.failure("create \(name)") }
            let directory = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            guard directory >= 0 else { throw Self.failure("open \(name)") }
            open.append(directory)
            made += 1
            directories += 1
            lastFile = nil
        }

        /// Back to the root. A directory gets its time when it is left: nothing is made in it any more.
        mutating func leaveAll() {
            while open.count > 1 {
                let directory = open.removeLast()
                stamp(directory)
                close(directory)
            }
        }

        mutating func finish() throws(BenchFailure) {
            leaveAll()
            stamp(open[0])
        }

        mutating func closeAll() {
            for directory in open { close(directory) }
            open = []
        }

        mutating func file(_ name: String, size: Int, mode: mode_t = 0o644) throws(BenchFailure) {
            let file = openat(open[open.count - 1], name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
            guard file >= 0 else { throw Self.failure("create \(name)") }
            defer { close(file) }
            var left = size
            while left > 0 {
                let start = Int(generator.next() % UInt64(text.count / 2))
                let count = min(left, text.count / 2)
                let done = text.withUnsafeBytes { write(file, $0.baseAddress.map { $0 + start }, count) }
                guard done > 0 else { throw Self.failure("write \(name)") }
                left -= done
            }
            stamp(file)
            made += 1
            lastFile = name
        }

        mutating func symbolicLink(_ name: String, to target: String) throws(BenchFailure) {
            let directory = open[open.count - 1]
            guard symlinkat(target, directory, name) == 0 else { throw Self.failure("create \(name)") }
            var times = Self.times(made)
            utimensat(directory, name, &times, AT_SYMLINK_NOFOLLOW)
            made += 1
        }

        mutating func hardLink(_ name: String) throws(BenchFailure) {
            guard let lastFile else { return }
            let directory = open[open.count - 1]
            guard linkat(directory, lastFile, directory, name, 0) == 0 else { throw Self.failure("link \(name)") }
            made += 1
        }

        private func stamp(_ file: Int32) {
            var times = Self.times(made)
            futimens(file, &times)
        }

        private static func times(_ number: Int) -> [timespec] {
            [timespec](repeating: timespec(tv_sec: SyntheticTree.time + number, tv_nsec: 0), count: 2)
        }

        private static func failure(_ what: String) -> BenchFailure {
            BenchFailure(errno == ENOSPC ? .unavailable : .cannotWrite, "\(what): \(errorText(errno))")
        }
    }
}
