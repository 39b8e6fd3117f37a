public import LayerModel

/// Keeps everything in memory.
public struct MemorySink: ByteSink, ~Copyable {
    /// What was written.
    public private(set) var bytes: [UInt8] = []
    /// Whether `finish` was called.
    public private(set) var isFinished = false

    /// Begins empty.
    public init() {}

    public mutating func write(_ bytes: RawSpan) throws(LayerError) {
        self.bytes.reserveCapacity(self.bytes.count + bytes.byteCount)
        // Reason: the buffer is only read during the call.
        unsafe bytes.withUnsafeBytes { unsafe self.bytes.append(contentsOf: $0) }
    }

    public mutating func finish() throws(LayerError) {
        isFinished = true
    }
}

/// Counts bytes and forgets them.
public struct NullSink: ByteSink, ~Copyable {
    /// Bytes written so far.
    public private(set) var byteCount: UInt64 = 0

    /// Begins at zero.
    public init() {}

    public mutating func write(_ bytes: RawSpan) throws(LayerError) {
        byteCount += UInt64(bytes.byteCount)
    }

    public mutating func finish() throws(LayerError) {}
}
