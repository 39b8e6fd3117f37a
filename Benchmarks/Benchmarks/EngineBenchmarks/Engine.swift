import Benchmark
import Counting
import Glibc
import LayerCompression
import LayerEngine
import LayerModel
import LinuxIO

/// A tree of 200 directories with 50 files of 300 bytes each, in memory; removed when the process ends.
private enum Corpus {
    static let entries = 10_200
    static let path: String = {
        let path = "/dev/shm/ldiff-benchmarks-\(getpid())"
        mkdir(path, 0o755)
        let bytes = [UInt8](repeating: 120, count: 300)
        for directory in 0..<200 {
            let parent = "\(path)/directory\(directory)"
            mkdir(parent, 0o755)
            for index in 0..<50 {
                let file = open("\(parent)/file\(index).txt", O_WRONLY | O_CREAT | O_EXCL, 0o644)
                _ = write(file, bytes, bytes.count)
                close(file)
            }
        }
        atexit { Corpus.remove() }
        return path
    }()

    private static func remove() {
        for directory in 0..<200 {
            let parent = "\(path)/directory\(directory)"
            for index in 0..<50 { unlink("\(parent)/file\(index).txt") }
            rmdir(parent)
        }
        rmdir(path)
    }
}

private struct Wrong: Error {}

private func source(_ io: IOMode = .auto) -> SourceOptions {
    var source = SourceOptions(upper: PathBytes(Corpus.path))
    source.workers = 2
    source.io = io
    return source
}

/// Opens and reads 1,000 files through the ring; returns how often the kernel was entered.
private func readWithRing(window: Int) throws -> UInt64 {
    var ring = try Ring(entries: window)
    let arena = try NameArena()
    let slab = Slab(capacity: window * 512)
    var free = Array(0..<window)
    var left = 1000
    // What was opened is read; tokens of reads have a bit more.
    let isRead = UInt64(1) << 32
    func take(_ ring: inout Ring, wait: Bool) throws -> Bool {
        guard let done = try ring.nextCompletion(wait: wait) else { return false }
        let slot = Int(done.token & (isRead - 1))
        if done.token & isRead == 0 {
            guard done.result >= 0 else { throw Wrong() }
            try ring.read(
                OwnedDescriptor(adopting: done.result), into: slab, slot * 512..<slot * 512 + 400, at: 0,
                token: done.token | isRead)
        } else {
            guard done.result == 300 else { throw Wrong() }
            free.append(slot)
        }
        return true
    }
    for directory in 0..<20 {
        let path = Array("\(Corpus.path)/directory\(directory)".utf8)
        let reference = try arena.append(path.span.bytes)
        let opened = try OwnedDescriptor.open(arena.pointer(reference), [.readOnly, .directory])
        for index in 0..<50 {
            while free.isEmpty { _ = try take(&ring, wait: true) }
            let name = try arena.append(Array("file\(index).txt".utf8).span.bytes)
            let slot = free.removeLast()
            try ring.open(opened, name, in: arena, [.readOnly, .noFollow], token: UInt64(slot))
            left -= 1
        }
        try ring.submit()
        while ring.inFlight > 0 { _ = try take(&ring, wait: true) }
    }
    guard left == 0 else { throw Wrong() }
    return ring.counters.enters
}

let benchmarks: @Sendable () -> Void = {
    Benchmark("names-100000", configuration: configuration([.allocations])) { benchmark in
        let name = Array("a-file-of-ordinary-length.txt".utf8)
        try benchmark.counted {
            let arena = try NameArena()
            for _ in 0..<100_000 { blackHole(try arena.append(name.span.bytes)) }
        }
    }
    Benchmark(
        "size-10200-entries", configuration: configuration([.allocations, .entryCalls, .ringEnters])
    ) { benchmark in
        _ = Corpus.path
        let report = try benchmark.counted { try DiffEngine.size(source()) }
        // With the root itself.
        guard report.entries == Corpus.entries + 1 else { throw Wrong() }
        benchmark.report(report.io)
    }
    for mode in [IOMode.auto, .sync, .ring] {
        Benchmark(
            "diff-10200-entries-\(mode.rawValue)",
            configuration: configuration(mode == .ring ? [.entryCalls] : [.allocations, .entryCalls, .ringEnters])
        ) { benchmark in
            _ = Corpus.path
            let report = try benchmark.counted {
                var sink = NullSink()
                return try DiffEngine.write(source(mode), options: DiffOptions(), into: &sink)
            }
            guard report.entries == Corpus.entries else { throw Wrong() }
            benchmark.report(report.io)
        }
    }
    for window in [16, 64] {
        Benchmark("ring-read-1000-files-window-\(window)", configuration: configuration([.ringEnters])) {
            benchmark in
            _ = Corpus.path
            let enters = try benchmark.counted { try readWithRing(window: window) }
            benchmark.measurement(.ringEnters, Int(enters))
        }
    }
}
