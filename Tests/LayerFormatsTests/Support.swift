import Foundation
import LayerCompression
import LayerFormats
import LayerModel
import LinuxIO
import TestSupport

/// A stream that lies in memory, handed over in pieces of one size.
struct PiecesSource: SlabSource, ~Copyable {
    private let bytes: [UInt8]
    private let piece: Int
    private var at = 0

    init(_ bytes: [UInt8], piece: Int = 1000) {
        self.bytes = bytes
        self.piece = piece
    }

    mutating func next() throws(LayerError) -> Slab? {
        guard at < bytes.count else { return nil }
        let count = min(piece, bytes.count - at)
        let slab = Slab(capacity: count)
        slab.append(bytes.rawBytes.extracting(at..<at + count))
        at += count
        return slab
    }

    mutating func recycle(_ slab: consuming Slab) {}
}

/// A sink whose bytes outlive it.
struct KeptSink: ByteSink, ~Copyable {
    final class Bytes {
        var value: [UInt8] = []
    }
    let kept: Bytes

    mutating func write(_ bytes: RawSpan) throws(LayerError) { kept.value += bytes.copied() }
    mutating func finish() throws(LayerError) {}
}

/// The metadata of `archive` as lines of JSON, packed in pieces of one size.
func packed(
    _ archive: [UInt8], piece: Int = 700, repeated: RepeatedNames? = nil
) throws -> (lines: [String], summary: TarSplitSummary) {
    let kept = KeptSink.Bytes()
    var packer = try TarSplitPacker(KeptSink(kept: kept), repeated: repeated)
    var at = 0
    while at < archive.count {
        let end = min(at + piece, archive.count)
        try packer.write(archive.rawBytes.extracting(at..<end))
        at = end
    }
    let summary = try packer.finish()
    let text = String(decoding: try inflated(kept.value), as: UTF8.self)
    return (text.split(separator: "\n").map(String.init), summary)
}

/// As `packed`, with the second reading where the first asks for it.
func packedFully(_ archive: [UInt8], piece: Int = 700) throws -> [String] {
    let first = try packed(archive, piece: piece)
    guard let repeated = first.summary.repeated else { return first.lines }
    return try packed(archive, piece: piece, repeated: repeated).lines
}

/// What gzip'ed bytes say.
func inflated(_ bytes: [UInt8]) throws -> [UInt8] {
    let path = "/tmp/ldiff-formats-\(UInt64.random(in: .min ... .max))"
    defer { try? FileManager.default.removeItem(atPath: path) }
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
    var reader = try LayerReader(descriptor: file.fileDescriptor, format: .gzip)
    var result: [UInt8] = []
    while let slab = try reader.next() {
        result += slab.bytes.copied()
        reader.recycle(slab)
    }
    return result
}

/// A directory with files in it, removed with this value.
final class FileTree {
    let path = "/tmp/ldiff-formats-\(UInt64.random(in: .min ... .max))"

    init(_ files: [String: [UInt8]] = [:]) throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        for (name, bytes) in files { try put(name, bytes) }
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func put(_ name: String, _ bytes: [UInt8]) throws {
        let url = URL(fileURLWithPath: path + "/" + name)
        try FileManager.default.createDirectory(
            at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(bytes).write(to: url)
    }

    /// The archive that `lines` and this tree make.
    func assembled(_ lines: [String], piece: Int = 1000, refusesDuplicates: Bool = false) throws -> [UInt8] {
        let text = Array(lines.joined(separator: "\n").utf8)
        var source = PiecesSource(text, piece: piece)
        let kept = KeptSink.Bytes()
        var sink = KeptSink(kept: kept)
        var options = TarSplitAssemblerOptions()
        options.refusesDuplicates = refusesDuplicates
        let name = Array((path + "\0").utf8)
        let root = try OwnedDescriptor.open(NamePointer(terminated: name.rawBytes), [.readOnly, .directory])
        let result = try TarSplitAssembler.assemble(&source, root: root, into: &sink, options: options)
        guard result.bytes == UInt64(kept.value.count) else { throw CountMismatch() }
        return kept.value
    }
}

struct CountMismatch: Error {}
