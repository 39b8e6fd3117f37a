import Benchmark
import Counting
import Glibc
import LayerCompression
import LayerModel
import TarCodec

/// 10,000 files of 100 bytes with names of ordinary length.
private let entryCount = 10_000
private let name = Array("usr/share/doc/package/a-file-of-ordinary-length.txt".utf8)
private let owner = Array("root".utf8)
private let body = [UInt8](repeating: 97, count: 512)

private func encodeHeaders(into result: inout [UInt8], longNames: Bool = false) throws {
    var encoder = TarEncoder()
    let path = longNames ? name + name + name : name
    var fields = TarFields()
    fields.type = TarType.regular
    fields.mode = 0o644
    fields.size = 100
    for index in 0..<entryCount {
        fields.mtimeSeconds = 1_700_000_000 + Int64(index)
        try encoder.encode(
            fields, name: path.span.bytes, linkName: [UInt8]().span.bytes, userName: owner.span.bytes,
            groupName: owner.span.bytes, format: .pax)
        encoder.blocks.withUnsafeBytes { result.append(contentsOf: $0) }
        result.append(contentsOf: body)
    }
    result.append(contentsOf: [UInt8](repeating: 0, count: TarEncoder.trailerByteCount))
}

private func archive(longNames: Bool = false) throws -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(64 << 20)
    try encodeHeaders(into: &bytes, longNames: longNames)
    return bytes
}

private func decode(_ bytes: [UInt8]) throws -> Int {
    var decoder = TarDecoder()
    var (position, entries) = (0, 0)
    while true {
        let (consumed, step) = try decoder.step(bytes.span.bytes.extracting(position..<bytes.count))
        position += consumed
        switch step {
        case .entry:
            entries += 1
            let count = Int(decoder.storedByteCount) + decoder.padding
            decoder.advance(count)
            position += count
        case .needMore: throw Incomplete()
        case .end: return entries
        }
    }
}

private struct Incomplete: Error {}

/// A file in memory with these bytes, at its start.
private func memoryFile(_ bytes: [UInt8]) -> Int32 {
    let file = open("/dev/shm", unnamedFileFlags, 0o600)
    _ = bytes.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
    lseek(file, 0, SEEK_SET)
    return file
}

/// O_TMPFILE | O_RDWR, which Glibc does not show to Swift.
private let unnamedFileFlags: Int32 = 0o20200000 | O_RDWR

private func compressed(_ bytes: [UInt8], gzip: Bool) throws -> [UInt8] {
    if gzip {
        var sink = try GzipSink(MemorySink(), workers: 2)
        try sink.write(bytes.span.bytes)
        try sink.finish()
        return sink.base.bytes
    }
    var sink = try ZstdSink(MemorySink(), workers: 2)
    try sink.write(bytes.span.bytes)
    try sink.finish()
    return sink.base.bytes
}

private func inflate(_ bytes: [UInt8]) throws -> Int {
    let file = memoryFile(bytes)
    defer { close(file) }
    var reader = try LayerReader(descriptor: file)
    var count = 0
    while let slab = try reader.next() {
        count += slab.count
        reader.recycle(slab)
    }
    return count
}

let benchmarks: @Sendable () -> Void = {
    let counts: [BenchmarkMetric] = [.allocations, .bytesOut]

    for isLong in [false, true] {
        let kind = isLong ? "long-names" : "plain"
        Benchmark("tar-encode-10000-\(kind)", configuration: configuration(counts)) { benchmark in
            var bytes: [UInt8] = []
            bytes.reserveCapacity(64 << 20)
            try benchmark.counted { try encodeHeaders(into: &bytes, longNames: isLong) }
            benchmark.measurement(.bytesOut, bytes.count)
        }
        Benchmark("tar-decode-10000-\(kind)", configuration: configuration([.allocations])) { benchmark in
            let bytes = try archive(longNames: isLong)
            let entries = try benchmark.counted { try decode(bytes) }
            guard entries == entryCount else { throw Incomplete() }
        }
    }
    Benchmark("sha256-64-MiB", configuration: configuration([.allocations])) { benchmark in
        let bytes = [UInt8](repeating: 7, count: 64 << 20)
        blackHole(benchmark.counted { Digest.of(bytes.span.bytes) })
    }
    for isGzip in [true, false] {
        let kind = isGzip ? "gzip" : "zstd"
        Benchmark("deflate-10-MB-\(kind)", configuration: configuration([.bytesOut])) { benchmark in
            let bytes = try archive()
            let result = try benchmark.counted { try compressed(bytes, gzip: isGzip) }
            benchmark.measurement(.bytesOut, result.count)
        }
        Benchmark("inflate-10-MB-\(kind)", configuration: configuration([.bytesOut])) { benchmark in
            let bytes = try compressed(archive(), gzip: isGzip)
            let count = try benchmark.counted { try inflate(bytes) }
            benchmark.measurement(.bytesOut, count)
        }
    }
}
