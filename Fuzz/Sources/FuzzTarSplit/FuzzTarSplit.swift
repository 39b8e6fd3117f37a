import FuzzArchives
import FuzzSupport
import LayerModel
import LinuxIO
import TarCodec

@testable import LayerCompression
@testable import LayerFormats

/// What was packed rebuilds the archive, in whatever pieces that came; lines of chance are objects that read the same once
/// they are written again, or none.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzTarSplit(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    var input = FuzzInput(data, count)
    if input.byte() & 1 == 0 {
        checkLine(input.rest)
    } else {
        let isSigned = input.byte() & 3 != 0
        let sizes = input.pieceSizes()
        checkPacking(isSigned ? signHeaders(input.rest) : input.rest, sizes)
    }
    return 0
}

private func checkPacking(_ archive: [UInt8], _ sizes: [Int]) {
    guard let first = pack(archive, [1 << 20], nil) else {
        require(pack(archive, sizes, nil) == nil, "pieces are refused as the whole is")
        return
    }
    var lines = first.lines
    if let repeated = first.repeated {
        guard let second = pack(archive, [1 << 20], repeated) else { fatalError("rule broken: a second reading fails") }
        lines = second.lines
    }
    if let parted = pack(archive, sizes, first.repeated) {
        require(parted.lines == lines, "pieces make the lines of the whole")
    } else {
        fatalError("rule broken: pieces are refused")
    }
    var bodies: [[UInt8]: [UInt8]] = [:]
    for entry in FuzzReading(archive).entries where entry.stored > 0 { bodies[entry.name] = entry.body }
    var rebuilt: [UInt8] = []
    var object = TarSplitObject()
    for line in lines.split(separator: UInt8(ascii: "\n")) {
        let bytes = Array(line)
        require(object.read(bytes.rawBytes), "a line that was packed is read")
        if object.kind == .segment {
            rebuilt += object.payload
        } else if object.size > 0 {
            guard let body = bodies[object.name] else { fatalError("rule broken: a file's name is not the archive's") }
            var checksum = PayloadChecksum()
            checksum.update(body.rawBytes)
            let expected = object.payload.reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            require(
                Int64(body.count) == object.size && checksum.value == expected, "a checksum is that of the contents")
            rebuilt += body
        }
    }
    require(rebuilt == archive, "what was packed makes the archive")
}

private final class KeptBytes {
    var bytes: [UInt8] = []
}

private struct MemorySink: ByteSink, ~Copyable {
    let kept: KeptBytes
    mutating func write(_ bytes: RawSpan) { kept.bytes += bytes.copied() }
    mutating func finish() {}
}

/// The JSON lines of an archive; nil where it is refused.
private func pack(_ archive: [UInt8], _ sizes: [Int], _ known: RepeatedNames?) -> (
    lines: [UInt8], repeated: RepeatedNames?
)? {
    let kept = KeptBytes()
    do throws(LayerError) {
        var packer = try TarSplitPacker(MemorySink(kept: kept), repeated: known)
        for piece in pieces(of: archive.count, sizes) { try packer.write(archive.rawBytes.extracting(piece)) }
        let summary = try packer.finish()
        return (inflate(kept.bytes, isGzip: true).bytes, summary.repeated)
    } catch {
        return nil
    }
}
