import CISAL
import FuzzSupport
import Glibc
import LayerModel
import LinuxIO

@testable import LayerCompression

/// Any stream decodes the same whatever pieces it comes in and whatever slabs it goes to; where zlib (by way of libarchive)
/// takes it too, both say the same; and what the sink wrote is read as it was.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzGzip(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    var input = FuzzInput(data, count)
    let kind = input.byte()
    let (sizes, slabs) = (input.pieceSizes(), input.pieceSizes())
    switch kind & 3 {
    case 0: checkSink(input.rest, level: Int(kind >> 2 & 3), sizes)
    case 1: checkStream(input.rest, sizes, slabs)
    default:
        // Checksums that are right, which a fuzzer would not guess: whole members around bytes of chance.
        var stream: [UInt8] = []
        for _ in 0...Int(kind >> 2 & 1) { stream += member(input.piece(limit: 400), flags: input.byte()) }
        stream += member(input.rest, flags: kind >> 3 & 1)
        checkStream(stream, sizes, slabs)
    }
    return 0
}

private func checkStream(_ stream: [UInt8], _ sizes: [Int], _ slabs: [Int]) {
    let whole = decode(stream, pieces: [4096], slabs: [1 << 16]) { GzipDecoder() }
    let parted = decode(stream, pieces: sizes, slabs: slabs) { GzipDecoder() }
    require(
        whole.failure == parted.failure,
        "pieces end as the whole: \(parted.failure ?? "well"), \(whole.failure ?? "well")")
    if whole.failure == nil { require(whole.bytes == parted.bytes, "pieces say what the whole says") }
    let other = decodeWithLibarchive(stream)
    guard whole.failure == nil, let other else { return }
    require(whole.bytes == other, "zlib says the same")
}

private func checkSink(_ bytes: [UInt8], level: Int, _ sizes: [Int]) {
    let kept = KeptBytes()
    do throws(LayerError) {
        var sink = try GzipSink(MemorySink(kept: kept), level: level, workers: 1)
        for piece in pieces(of: bytes.count, sizes) { try sink.write(bytes.rawBytes.extracting(piece)) }
        try sink.finish()
    } catch {
        fatalError("rule broken: memory takes everything, \(error)")
    }
    let again = decode(kept.bytes, pieces: [4096], slabs: [1 << 16]) { GzipDecoder() }
    require(again.failure == nil && again.bytes == bytes, "what was written is read")
}

final class KeptBytes {
    var bytes: [UInt8] = []
}

struct MemorySink: ByteSink, ~Copyable {
    let kept: KeptBytes
    mutating func write(_ bytes: RawSpan) { kept.bytes += bytes.copied() }
    mutating func finish() {}
}

struct Decoded {
    var bytes: [UInt8] = []
    var failure: String?
}

/// Never raised.
private let stop = CancelFlag()

/// More than this is nobody's: a stream of a few kilobytes may say millions of bytes.
private let limit = 1 << 18

/// Through a socket that keeps each write apart, so that the pieces are those that the decoder reads.
private func decode<Decoder: StreamDecoder & ~Copyable>(
    _ stream: [UInt8], pieces sizes: [Int], slabs: [Int], _ make: () -> Decoder
) -> Decoded {
    var ends: [Int32] = [-1, -1]
    let type = Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
    guard socketpair(AF_UNIX, type, 0, &ends) == 0 else { fatalError("socketpair: \(errno)") }
    defer { close(ends[0]) }
    // No more pieces than the socket takes before anybody reads.
    let least = stream.count / 200 + 1
    for piece in pieces(of: stream.count, sizes.map { min(max($0, least), 4096) }) {
        let count = stream[piece].withUnsafeBytes { write(ends[1], $0.baseAddress, $0.count) }
        guard count == piece.count else { fatalError("the socket is full") }
    }
    close(ends[1])
    var decoder = make()
    let input = CompressedInput(.descriptor(ends[0]), stop: stop, cancel: nil, progress: nil)
    var result = Decoded()
    var turn = 0
    do throws(LayerError) {
        while result.bytes.count < limit {
            let slab = Slab(capacity: slabs[turn % slabs.count])
            turn += 1
            try decoder.fill(slab, from: input)
            result.bytes += slab.bytes.copied()
            if slab.end < slab.capacity { return result }
        }
        result.failure = "too much"
    } catch {
        result.failure = "\(error)"
    }
    return result
}
