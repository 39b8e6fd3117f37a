import Glibc
import LayerModel
import LinuxIO

/// Writes to an output through a buffer that gathers small pieces; large ones go straight through.
struct OutputSink: ByteSink, ~Copyable {
    /// Bytes taken so far.
    private(set) var byteCount: UInt64 = 0
    private let output: OutputFile
    private let buffer = Slab(capacity: 256 << 10)
    /// From here on a piece is not worth copying.
    private static let straight = 64 << 10

    init(_ output: OutputFile) {
        self.output = output
    }

    mutating func write(_ bytes: RawSpan) throws(LayerError) {
        byteCount += UInt64(bytes.byteCount)
        if bytes.byteCount >= Self.straight || bytes.byteCount > buffer.capacity - buffer.end { try flush() }
        if bytes.byteCount >= Self.straight {
            try send(bytes)
        } else {
            buffer.append(bytes)
        }
    }

    /// One byte; and another.
    mutating func write(_ byte: UInt8, _ second: UInt8? = nil) throws(LayerError) {
        if buffer.capacity - buffer.end < 2 { try flush() }
        buffer.appendByte(byte)
        byteCount += 1
        guard let second else { return }
        buffer.appendByte(second)
        byteCount += 1
    }

    mutating func finish() throws(LayerError) {
        try flush()
    }

    private func flush() throws(LayerError) {
        guard buffer.count > 0 else { return }
        try send(buffer.bytes)
        buffer.end = 0
    }

    private func send(_ bytes: RawSpan) throws(LayerError) {
        do throws(SystemCallError) {
            try output.descriptor.writeAll(bytes)
        } catch {
            let hint = error.errno == ENOSPC ? "free some space" : error.errno == EPIPE ? "the reader has gone" : nil
            throw LayerError(error, "write", path: output.displayPath, hint: hint)
        }
    }
}

extension Slab {
    /// Writes one byte behind the valid bytes, for which there must be room.
    fileprivate func appendByte(_ byte: UInt8) {
        var target = mutableSpan(end..<end + 1)
        target.storeBytes(of: byte, as: UInt8.self)
        end += 1
    }
}
