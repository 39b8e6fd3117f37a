import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// Many entries, deep trees, many links: bounded memory, no recursion, no step that grows faster than the tree.
@Suite(.serialized) struct DiffScaleTests {
    /// Makes `count` empty files, `inEach` to a directory; every tenth holds some bytes.
    static func fill(_ root: String, count: Int, inEach: Int) throws {
        mkdir(root, 0o755)
        for index in 0..<count {
            let directory = "\(root)/directory-\(index / inEach)"
            if index % inEach == 0, mkdir(directory, 0o755) != 0 { throw TestFailure("mkdir \(directory)") }
            let descriptor = open("\(directory)/some-file-\(index)", O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
            guard descriptor >= 0 else { throw TestFailure("open in \(directory): errno \(errno)") }
            if index % 10 == 0 { write(descriptor, "some bytes", 10) }
            close(descriptor)
        }
    }

    /// The most memory this program ever held, in MiB: VmHWM of proc(5). Not ru_maxrss, which a program keeps from the
    /// process that started it, here the whole test run.
    static func peakMemory() -> Int {
        guard let file = fopen("/proc/self/status", "re") else { return Int.max }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 256)
        while fgets(&line, Int32(line.count), file) != nil {
            let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            guard text.hasPrefix("VmHWM:") else { continue }
            return Int(text.filter(\.isNumber)).map { $0 / 1024 } ?? Int.max
        }
        return Int.max
    }

    /// LDIFF_ENTRIES asks for another number of entries; .ci/run asks for 1,000,000.
    static var entryCount: Int { getenv("LDIFF_ENTRIES").flatMap { Int(String(cString: $0)) } ?? 200_000 }

    @Test("1,000,000 entries take less than 250 MiB", .timeLimit(.minutes(10)))
    func memory() async {
        await #expect(processExitsWith: .success) {
            let count = DiffScaleTests.entryCount
            let scratch = try TemporaryDirectory()
            let memory = try Mount.memory(at: scratch.path)
            let tree = memory.path + "/tree"
            try DiffScaleTests.fill(tree, count: count, inEach: 1000)
            try #require(mkdir(memory.path + "/empty", 0o755) == 0)
            let before = DiffScaleTests.peakMemory()
            var sink = CountingSink()
            let report = try DiffEngine.write(source(tree, workers: 2), options: DiffOptions(), into: &sink)
            let directories = count / 1000
            try #require(report.entries == count + directories)
            try #require(sink.count == UInt64(count + directories + count / 10 + 2) * 512)
            var changed = 0
            _ = try DiffEngine.changes(source(tree, lowers: [memory.path + "/empty"], workers: 2)) {
                _, _ throws(LayerError) in changed += 1
            }
            try #require(changed == count + directories)
            let size = try DiffEngine.size(source(tree, workers: 2))
            try #require(size.bytes == UInt64(count))
            let peak = DiffScaleTests.peakMemory()
            try #require(peak < before + 250 && peak < 300, "\(before) MiB before, \(peak) MiB at most")
        }
    }

    @Test("a directory of 100,000 names takes no longer for each than one of 10,000", .timeLimit(.minutes(5)))
    func largeDirectory() throws {
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        var seconds: [Double] = []
        for count in [10_000, 100_000] {
            let tree = memory.path + "/\(count)"
            try Self.fill(tree, count: count, inEach: count)
            let clock = ContinuousClock()
            let time = try clock.measure {
                var sink = CountingSink()
                let report = try DiffEngine.write(source(tree), options: DiffOptions(), into: &sink)
                #expect(report.entries == count + 1)
                #expect(try changes(source(tree)).count == count + 1)
            }
            seconds.append(Double(time.components.attoseconds) / 1e18 + Double(time.components.seconds))
        }
        // Ten times as much, and what a busy machine adds.
        #expect(seconds[1] < seconds[0] * 40 + 2, "\(seconds)")
    }

    @Test("3,000 directories in one another, far beyond the longest path", .timeLimit(.minutes(5)))
    func deepTree() throws {
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        let (depth, name) = (3000, "deep")
        mkdir(memory.path + "/tree", 0o755)
        mkdir(memory.path + "/empty", 0o755)
        var directory = try openPath(memory.path + "/tree")
        for _ in 0..<depth {
            try directory.makeDirectory(NamePointer("deep"), mode: 0o755)
            directory = try directory.open(NamePointer("deep"), [.readOnly, .directory])
        }
        let file = try directory.open(NamePointer("file"), [.writeOnly, .create], mode: 0o644)
        try writeAll(Array("bottom".utf8), to: file.number)
        for workers in [1, 4] {
            let tree = source(memory.path + "/tree", workers: workers)
            let pair = source(memory.path + "/tree", lowers: [memory.path + "/empty"], workers: workers)
            var lengths: [Int] = []
            _ = try DiffEngine.changes(pair) { _, path throws(LayerError) in lengths.append(path.byteCount) }
            #expect(lengths.count == depth + 1 && lengths.last == 1 + depth * 5 + 4)
            #expect(try DiffEngine.size(tree).bytes == 6)
        }
        let entries = try listed(layer(source(memory.path + "/tree", workers: 2)))
        #expect(entries.count == depth + 1)
        #expect(entries.last?.name.count == depth * (name.count + 1) + 4)
        #expect(entries.last.map { String(decoding: $0.body, as: UTF8.self) } == "bottom")
    }

    @Test("100,000 names of one inode are one file and links", .timeLimit(.minutes(5)))
    func links() throws {
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        let count = 100_000
        let tree = try TreeBuilder(memory.path + "/tree")
        try tree.file("0", "one inode")
        for index in 1..<count { try tree.link("\(index)", to: "0") }
        var sink = CountingSink()
        let report = try DiffEngine.write(source(tree.root), options: DiffOptions(), into: &sink)
        #expect(report.entries == count && report.size == 9)
        #expect(sink.count == UInt64(count + 3) * 512)
        #expect(try DiffEngine.size(source(tree.root)).bytes == 9)
        mkdir(memory.path + "/empty", 0o755)
        let pair = source(tree.root, lowers: [memory.path + "/empty"])
        #expect(try layer(pair, .containerd).count == (count + 3) * 512)
    }
}
