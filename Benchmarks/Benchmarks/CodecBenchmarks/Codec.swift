import Benchmark
import Counting
import EngineParts

private struct Incomplete: Error {}

let benchmarks: @Sendable () -> Void = {
    let counts: [BenchmarkMetric] = [.allocations, .bytesOut]

    for isLong in [false, true] {
        let kind = isLong ? "long-names" : "plain"
        Benchmark("tar-encode-10000-\(kind)", configuration: configuration(counts)) { benchmark in
            var bytes: [UInt8] = []
            bytes.reserveCapacity(64 << 20)
            try benchmark.counted { try CodecParts.encode(into: &bytes, longNames: isLong) }
            benchmark.measurement(.bytesOut, bytes.count)
        }
        Benchmark("tar-decode-10000-\(kind)", configuration: configuration([.allocations])) { benchmark in
            let bytes = try CodecParts.archive(longNames: isLong)
            let entries = try benchmark.counted { try CodecParts.decode(bytes) }
            guard entries == CodecParts.entryCount else { throw Incomplete() }
        }
    }
    Benchmark("sha256-64-MiB", configuration: configuration([.allocations])) { benchmark in
        let bytes = [UInt8](repeating: 7, count: 64 << 20)
        blackHole(benchmark.counted { CodecParts.digest(bytes) })
    }
    for isGzip in [true, false] {
        let kind = isGzip ? "gzip" : "zstd"
        Benchmark("deflate-10-MB-\(kind)", configuration: configuration([.bytesOut])) { benchmark in
            let bytes = try CodecParts.archive()
            let result = try benchmark.counted { try CodecParts.compress(bytes, gzip: isGzip) }
            benchmark.measurement(.bytesOut, result.count)
        }
        Benchmark("inflate-10-MB-\(kind)", configuration: configuration([.bytesOut])) { benchmark in
            let bytes = try CodecParts.compress(CodecParts.archive(), gzip: isGzip)
            let count = try benchmark.counted { try CodecParts.inflate(bytes) }
            benchmark.measurement(.bytesOut, count)
        }
    }
}
