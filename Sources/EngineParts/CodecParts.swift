import Glibc
import LayerCompression
import LayerModel
import TarCodec

/// Parts of the codec and the compressors, for the package Benchmarks, which cannot see into this one.
package enum CodecParts {
    /// Entries of the archive that is coded.
    package static let entryCount = 10_000

    /// Appends the archive: files of 100 bytes with names of ordinary length, or of thrice that.
    package static func encode(into bytes: inout [UInt8], longNames: Bool) throws {
        try encodeHeaders(into: &bytes, longNames: longNames)
    }

    /// The whole archive.
    package static func archive(longNames: Bool = false) throws -> [UInt8] { try madeArchive(longNames: longNames) }

    /// Decodes an archive and returns its number of entries.
    package static func decode(_ bytes: [UInt8]) throws -> Int { try decodeArchive(bytes) }

    /// The SHA-256 digest, as text.
    package static func digest(_ bytes: [UInt8]) -> String { Digest.of(bytes.rawBytes).description }

    /// The bytes as gzip, or as zstd, by two workers.
    package static func compress(_ bytes: [UInt8], gzip: Bool) throws -> [UInt8] { try compressed(bytes, gzip: gzip) }

    /// How many bytes come out of a compressed stream.
    package static func inflate(_ bytes: [UInt8]) throws -> Int { try inflated(bytes) }
}

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
    for index in 0..<CodecParts.entryCount {
        fields.mtimeSeconds = 1_700_000_000 + Int64(index)
        try encoder.encode(
            fields, name: path.rawBytes, linkName: [UInt8]().rawBytes, userName: owner.rawBytes,
            groupName: owner.rawBytes, format: .pax)
        // Reason: the blocks are copied during the call.
        unsafe encoder.blocks.withUnsafeBytes { unsafe result.append(contentsOf: $0) }
        result.append(contentsOf: body)
    }
    result.append(contentsOf: [UInt8](repeating: 0, count: TarEncoder.trailerByteCount))
}

private func madeArchive(longNames: Bool = false) throws -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(64 << 20)
    try encodeHeaders(into: &bytes, longNames: longNames)
    return bytes
}

private func decodeArchive(_ bytes: [UInt8]) throws -> Int {
    var decoder = TarDecoder()
    var (position, entries) = (0, 0)
    while true {
        let (consumed, step) = try decoder.step(bytes.rawBytes.extracting(position..<bytes.count))
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
    // Reason: the array is read during the call.
    _ = unsafe bytes.withUnsafeBytes { unsafe write(file, $0.baseAddress, $0.count) }
    lseek(file, 0, SEEK_SET)
    return file
}

/// O_TMPFILE | O_RDWR, which Glibc does not show to Swift.
private let unnamedFileFlags: Int32 = 0o20200000 | O_RDWR

private func compressed(_ bytes: [UInt8], gzip: Bool) throws -> [UInt8] {
    if gzip {
        var sink = try GzipSink(MemorySink(), workers: 2)
        try sink.write(bytes.rawBytes)
        try sink.finish()
        return sink.base.bytes
    }
    var sink = try ZstdSink(MemorySink(), workers: 2)
    try sink.write(bytes.rawBytes)
    try sink.finish()
    return sink.base.bytes
}

private func inflated(_ bytes: [UInt8]) throws -> Int {
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
