import Foundation
import Glibc
import LayerCompression
import LayerModel
import TestSupport

/// Bytes that look like a layer: text that repeats itself, runs of zeros, and some that do not compress.
///
/// Made of pieces of one block, which is quick even in debug builds.
func sampleBytes(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
    var random = SplitMix(state: seed)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count)
    while bytes.count < count {
        let start = Int(random.next() % UInt64(sampleBlock.count - 65_536))
        bytes.append(contentsOf: sampleBlock[start..<start + min(65_536, count - bytes.count)])
    }
    return bytes
}

private let sampleBlock: [UInt8] = {
    var random = SplitMix(state: 42)
    let words = ["static ", "int ", "return ", "struct layer", "\n", "{ ", "} ", "0x", "include <", "/* why */ "]
        .map { Array($0.utf8) }
    var bytes: [UInt8] = []
    while bytes.count < 1 << 20 {
        switch random.next() % 40 {
        case 0: bytes.append(contentsOf: repeatElement(0, count: Int(random.next() % 4096)))
        case 1: bytes += randomBytes(Int(random.next() % 2048), seed: random.next())
        default: for _ in 0..<16 { bytes += words[Int(random.next() % UInt64(words.count))] }
        }
    }
    return bytes
}()

/// Bytes that no compressor makes smaller.
func randomBytes(_ count: Int, seed: UInt64 = 7) -> [UInt8] {
    var random = SplitMix(state: seed)
    return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
        while initialized < count {
            withUnsafeBytes(of: random.next()) { word in
                for byte in word.prefix(count - initialized) {
                    buffer[initialized] = byte
                    initialized += 1
                }
            }
        }
    }
}

/// The generator of Steele, Lea and Flood, for bytes that are the same in every run.
struct SplitMix {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }
}

struct ToolFailure: Error, CustomStringConvertible {
    var description: String
}

/// A file with the given contents that is gone as soon as its descriptor is closed.
struct ScratchFile: ~Copyable {
    let descriptor: Int32

    init(_ bytes: [UInt8] = []) throws {
        var template = Array("/tmp/ldiff-test-XXXXXX".utf8CString)
        descriptor = mkstemp(&template)
        guard descriptor >= 0 else { throw ToolFailure(description: "mkstemp: errno \(errno)") }
        unlink(template)
        var sink = DescriptorSink(descriptor: descriptor)
        try sink.write(bytes: bytes)
        lseek(descriptor, 0, SEEK_SET)
    }

    deinit { close(descriptor) }

    /// All bytes, from the start.
    func contents() throws -> [UInt8] {
        lseek(descriptor, 0, SEEK_SET)
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            guard count >= 0 else { throw ToolFailure(description: "read: errno \(errno)") }
            if count == 0 { return bytes }
            bytes.append(contentsOf: buffer[0..<count])
        }
    }
}

/// What a program of the system makes of `input`; throws when it is missing or fails.
func run(_ command: [String], _ input: [UInt8]) throws -> [UInt8] {
    let result = try runProgram(command, input: input)
    guard result.status == 0 else {
        throw ToolFailure(description: "\(command): status \(result.status): \(result.errors)")
    }
    return result.output
}

extension ByteSink where Self: ~Copyable {
    /// Writes an array, in pieces of at most `split` bytes.
    mutating func write(bytes: [UInt8], split: Int = .max) throws(LayerError) {
        let span = bytes.span.bytes
        var offset = 0
        while offset < bytes.count {
            let length = min(split, bytes.count - offset)
            try write(span.extracting(offset..<offset + length))
            offset += length
        }
    }
}

/// How a test hands bytes to a reader.
enum Delivery: Sendable, CaseIterable {
    case file
    case pipe
    /// A pipe whose writer writes few bytes at a time.
    case tricklingPipe
}

/// Reads all of `bytes` through a `LayerReader`.
func readLayer(
    _ bytes: [UInt8], format: LayerFormat? = nil, options: LayerReaderOptions = LayerReaderOptions(),
    delivery: Delivery = .file, trickle: Int = 7
) throws -> (bytes: Content, summary: LayerSummary) {
    switch delivery {
    case .file:
        let file = try ScratchFile(bytes)
        return try readLayer(descriptor: file.descriptor, format: format, options: options)
    case .pipe, .tricklingPipe:
        let pipe = try PipeEnds()
        let writer = pipe.writeEnd
        let split = delivery == .pipe ? Int.max : trickle
        let thread = Thread {
            var sink = DescriptorSink(descriptor: writer)
            try? sink.write(bytes: bytes, split: split)
            close(writer)
        }
        thread.start()
        // When the reader gives up early, closing the read end lets the writer go.
        defer { close(pipe.readEnd) }
        return try readLayer(descriptor: pipe.readEnd, format: format, options: options)
    }
}

func readLayer(
    descriptor: Int32, format: LayerFormat?, options: LayerReaderOptions
) throws -> (bytes: Content, summary: LayerSummary) {
    var reader = try LayerReader(descriptor: descriptor, format: format, options: options)
    var result: [UInt8] = []
    while let slab = try reader.next() {
        slab.bytes.withUnsafeBytes { result.append(contentsOf: $0) }
        reader.recycle(slab)
    }
    return (Content(result), try reader.finish())
}

/// A pipe whose ends the test closes. Broken pipes are errors here, not signals.
struct PipeEnds {
    let readEnd: Int32
    let writeEnd: Int32

    init() throws {
        signal(SIGPIPE, SIG_IGN)
        var ends: [Int32] = [-1, -1]
        guard Glibc.pipe(&ends) == 0 else { throw ToolFailure(description: "pipe: errno \(errno)") }
        (readEnd, writeEnd) = (ends[0], ends[1])
    }
}

/// The code of the `LayerError` that `body` throws; nil when it throws none.
func codeThrown(_ body: () throws -> Void) -> LayerError.Code? {
    do {
        try body()
        return nil
    } catch {
        return (error as? LayerError)?.code
    }
}

/// Bytes as a test shows them when they differ: by length and digest, not one by one.
struct Content: Equatable, CustomStringConvertible {
    var bytes: [UInt8]

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var description: String { "\(bytes.count) bytes, \(digest(bytes))" }
}

func digest(_ bytes: [UInt8]) -> Digest { Digest.of(bytes.span.bytes) }

/// Threads of this process, as the kernel counts them.
func threadCount() throws -> Int {
    try FileManager.default.contentsOfDirectory(atPath: "/proc/self/task").count
}

/// Throws unless the number of threads falls to `count` soon; only for processes that do nothing else.
func expectThreads(atMost count: Int) throws {
    for _ in 0..<200 {
        if try threadCount() <= count { return }
        usleep(10_000)
    }
    throw ToolFailure(description: "there are \(try threadCount()) threads, not \(count)")
}
