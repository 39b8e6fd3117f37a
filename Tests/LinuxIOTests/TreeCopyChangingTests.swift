import Glibc
import LayerModel
import LinuxIO
import Synchronization
import TestSupport
import Testing

/// A tree that another thread changes as fast as it can while it is copied: each copy is an error, or every file in it is a
/// state that the file had.
@Suite struct TreeCopyChangingTests {
    private static let fileCount = 8
    private static let sizes = [1, 70_000, 300_000, 1_500_000]

    /// A tree of files that each hold one letter, of files that are a hole with data behind it, and of what may come in a
    /// file's place. Beside it `outside`, which nothing in the tree may lead to.
    private static func make(_ root: String) throws {
        try TreeBuilder.make(root) { tree in
            try tree.directory("tree")
            try tree.directory("tree/d")
            try tree.directory("aside")
            try tree.directory("outside")
            try tree.file("outside/secret", String(repeating: "!", count: 70_000))
            for number in 0..<fileCount {
                try tree.file("tree/f\(number)", bytes: letters(number, 70_000))
                try tree.file("aside/f\(number)", bytes: letters(number + 8, 300_000))
                try tree.file("tree/d/g\(number)", bytes: letters(number, 1000))
            }
            try tree.link("tree/d/name", to: "tree/f0")
            try tree.character("aside/zero", 1, 5)
            try tree.fifo("aside/fifo")
            try tree.link(symbolic: "aside/link", to: root + "/outside/secret")
            try tree.link(symbolic: "aside/d", to: root + "/outside")
        }
        let sparse = open(root + "/tree/sparse", O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
        defer { close(sparse) }
        growSparse(sparse)
    }

    private static func letters(_ number: Int, _ count: Int) -> [UInt8] {
        [UInt8](repeating: UInt8(ascii: "a") + UInt8(number % 26), count: count)
    }

    private static let (hole, data) = (1 << 20, 65_536)
    private static func growSparse(_ file: Int32) {
        let bytes = letters(25, data)
        _ = pwrite(file, bytes, data, off_t(hole))
    }

    /// One change.
    private static func change(_ root: String, _ random: inout some RandomNumberGenerator) {
        let number = Int.random(in: 0..<fileCount, using: &random)
        let path = root + "/tree/f\(number)"
        switch Int.random(in: 0..<8, using: &random) {
        case 0:
            // Cut, or made longer: with what it holds.
            let file = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW)
            guard file >= 0 else { return }
            defer { close(file) }
            var status = stat()
            var first: UInt8 = 0
            guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG, pread(file, &first, 1, 0) == 1
            else { return }
            let size = sizes.randomElement(using: &random) ?? 1
            if size < status.st_size {
                ftruncate(file, off_t(size))
            } else {
                let bytes = [UInt8](repeating: first, count: size - Int(status.st_size))
                _ = pwrite(file, bytes, bytes.count, status.st_size)
            }
        case 1, 2:
            // A new file in its place.
            let size = sizes.randomElement(using: &random) ?? 1
            let file = open(root + "/aside/new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
            let bytes = letters(Int.random(in: 0..<26, using: &random), size)
            _ = write(file, bytes, bytes.count)
            close(file)
            rename(root + "/aside/new", path)
        case 3: exchange(path, root + "/aside/f\(number)")
        case 4, 5:
            let other = root + "/aside/" + (["zero", "fifo", "link"].randomElement(using: &random) ?? "zero")
            exchange(path, other)
            exchange(path, other)
        case 6:
            exchange(root + "/tree/d", root + "/aside/d")
            exchange(root + "/tree/d", root + "/aside/d")
        default:
            let file = open(root + "/tree/sparse", O_WRONLY | O_CLOEXEC)
            ftruncate(file, off_t(hole / 2))
            usleep(200)
            growSparse(file)
            close(file)
        }
    }

    private static func exchange(_ one: String, _ other: String) {
        let (one, other) = (Array(one.utf8) + [0], Array(other.utf8) + [0])
        // The paths are absolute.
        guard let root = try? TestSupport.openPath("/") else { return }
        try? root.exchange(
            NamePointer(terminated: one.rawBytes), with: NamePointer(terminated: other.rawBytes), in: root)
    }

    /// What is wrong with a file of a copy.
    private static func problem(_ path: String, _ bytes: [UInt8]) -> String? {
        guard path == "sparse" else {
            guard let first = bytes.first else { return "is empty" }
            guard bytes.allSatisfy({ $0 == first }) else { return "is made of several states" }
            return (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(first)
                ? nil : "holds \(first), which is not its own"
        }
        guard bytes.prefix(hole).allSatisfy({ $0 == 0 }) else { return "has data in its hole" }
        if bytes.count == hole / 2 { return nil }
        return bytes.count > hole && bytes.dropFirst(hole).allSatisfy { $0 == letters(25, 1)[0] }
            ? nil : "was filled up with zeros"
    }

    @Test(arguments: ["/var/tmp", "/dev/shm"], [IOMode.sync, .ring])
    func `copies of a tree that changes are errors, or made of states that its files had`(
        place: String, io: IOMode
    ) throws {
        let scratch = try TemporaryDirectory(in: place)
        let other = try TemporaryDirectory()
        let root = scratch.path
        try Self.make(root)
        let isOver = Atomic<Bool>(false)
        let changes = Atomic<Int>(0)
        let changer = try WorkerThread {
            var random = SystemRandomNumberGenerator()
            while !isOver.load(ordering: .relaxed) {
                Self.change(root, &random)
                let count = changes.add(1, ordering: .relaxed).newValue
                if count % 50 == 0 { usleep(3000) }
            }
        }
        var results = (copies: 0, errors: 0)
        let failure = Result {
            let begin = time(nil)
            // Two seconds, and longer where the machine is so busy that no copy was whole yet.
            while time(nil) <= begin + (results.copies > 0 ? 2 : 30) {
                let target = try other.directory("copy\(results.copies + results.errors)")
                do {
                    _ = try TreeCopyTests.copy(root + "/tree", to: target) {
                        $0.workers = 2
                        $0.io = io
                    }
                    results.copies += 1
                } catch let error as LayerError {
                    results.errors += 1
                    // What came in a file's place is the only reason.
                    try #require([.fileChanged, .io, .notFound, .unsafePath].contains(error.code), "\(error)")
                }
                let copied = try TreeSnapshot(target)
                for (path, entry) in copied.entries where entry.kind == .regular {
                    let wrong = Self.problem(path, try readFile(target + "/" + path))
                    if let wrong { throw TestFailure("\(path) \(wrong)") }
                }
                try TreeRemoval.removeContents(of: TestSupport.openPath(other.path))
            }
        }
        isOver.store(true, ordering: .relaxed)
        changer.join()
        try failure.get()
        #expect(results.copies > 0 && changes.load(ordering: .relaxed) > 100, "\(results)")
    }
}
