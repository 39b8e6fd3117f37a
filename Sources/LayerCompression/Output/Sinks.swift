package import LayerModel

/// Keeps everything in memory.
package struct MemorySink: ByteSink, ~Copyable {
    /// What was written.
    package private(set) var bytes: [UInt8] = []
    /// Whether `finish` was called.
    package private(set) var isFinished = false

    /// Begins empty.
    package init() {}

    package mutating func write(_ bytes: RawSpan) throws(LayerError) {
        self.bytes.reserveCapacity(self.bytes.count + bytes.byteCount)
        // Reason: the buffer is only read during the call.
        unsafe bytes.withUnsafeBytes { unsafe self.bytes.append(contentsOf: $0) }
    }

    package mutating func finish() throws(LayerError) {
        isFinished = true
    }
}

/// Counts bytes and forgets them.
package struct NullSink: ByteSink, ~Copyable {
    /// Bytes written so far.
    package private(set) var byteCount: UInt64 = 0

    /// Begins at zero.
    package init() {}

    package mutating func write(_ bytes: RawSpan) throws(LayerError) {
        byteCount += UInt64(bytes.byteCount)
    }

    package mutating func finish() throws(LayerError) {}
}
