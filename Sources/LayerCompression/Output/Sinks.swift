public import LayerModel

/// Passes bytes on and meanwhile hashes and counts them (layer-archive A9).
public struct DigestSink<Base: ByteSink & ~Copyable>: ByteSink, ~Copyable {
    /// The sink that the bytes go on to, for reading its results after `finish`.
    public private(set) var base: Base
    /// Bytes passed on so far.
    public private(set) var byteCount: UInt64 = 0
    private var state = DigestState()
    private var result: Digest?

    /// Takes over `base`.
    public init(_ base: consuming Base) {
        self.base = base
    }

    public mutating func write(_ bytes: RawSpan) throws(LayerError) {
        state.update(bytes)
        byteCount += UInt64(bytes.byteCount)
        try base.write(bytes)
    }

    public mutating func finish() throws(LayerError) {
        try base.finish()
        result = state.finalize()
    }

    /// The digest of everything written so far; final after `finish`.
    public var digest: Digest { result ?? state.finalize() }
}

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
