import Benchmark
import Counting
import EngineParts
import Glibc
import LayerModel

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

let benchmarks: @Sendable () -> Void = {
    Benchmark("names-100000", configuration: configuration([.allocations])) { benchmark in
        try benchmark.counted { try EnginePart.appendNames(100_000) }
    }
    Benchmark(
        "size-10200-entries", configuration: configuration([.allocations, .entryCalls, .ringEnters])
    ) { benchmark in
        _ = Corpus.path
        let report = try benchmark.counted { try EnginePart.size(of: Corpus.path) }
        // With the root itself.
        guard report.entries == Corpus.entries + 1 else { throw Wrong() }
        benchmark.report(report)
    }
    for mode in [IOMode.auto, .sync, .ring] {
        Benchmark(
            "diff-10200-entries-\(mode.rawValue)",
            configuration: configuration(mode == .ring ? [.entryCalls] : [.allocations, .entryCalls, .ringEnters])
        ) { benchmark in
            _ = Corpus.path
            let report = try benchmark.counted { try EnginePart.diff(of: Corpus.path, mode) }
            guard report.entries == Corpus.entries else { throw Wrong() }
            benchmark.report(report)
        }
    }
    for window in [16, 64] {
        Benchmark("ring-read-1000-files-window-\(window)", configuration: configuration([.ringEnters])) {
            benchmark in
            _ = Corpus.path
            let enters = try benchmark.counted { try EnginePart.readThroughRing(below: Corpus.path, window: window) }
            benchmark.measurement(.ringEnters, Int(enters))
        }
    }
}
