/// Where a produced byte stream goes: a descriptor, a compressor, a digest, memory.
///
/// Calls come from one thread at a time, in stream order. After an error the sink is not used again.
public protocol ByteSink: ~Copyable {
    /// Takes all of `bytes`; they are only valid during the call.
    ///
    /// Throws `LayerError` when the bytes cannot be taken; nothing is known about how many were.
    mutating func write(_ bytes: RawSpan) throws(LayerError)

    /// Takes all bytes of a slab, and the slab itself: it goes back to `pool` when they are used up, which may be later
    /// and on another thread.
    mutating func write(_ slab: Slab, returningTo pool: SlabPool) throws(LayerError)

    /// Says that the stream is complete: trailers are written and buffers emptied. Called once.
    mutating func finish() throws(LayerError)
}

extension ByteSink where Self: ~Copyable {
    public mutating func write(_ slab: Slab, returningTo pool: SlabPool) throws(LayerError) {
        try write(slab.bytes)
        pool.give(slab)
    }
}

/// Where a consumed byte stream comes from: a descriptor, a decompressor, memory.
///
/// The stream is handed over in whole slabs, so that consumers can keep a slab and write its bytes elsewhere
/// without copying them.
public protocol SlabSource: ~Copyable {
    /// The next piece of the stream, at least one byte, or nil at its end.
    ///
    /// The caller owns the slab and gives it back with `recycle` when nobody holds it any more. Slabs have at
    /// least `SlabSourceDefaults.headroom` free bytes before `start`.
    mutating func next() throws(LayerError) -> Slab?

    /// Gives a slab back for reuse.
    mutating func recycle(_ slab: consuming Slab)
}

/// Sizes that producers and consumers of slabs agree on.
public enum SlabSourceDefaults {
    /// Payload bytes of one slab: 1 MiB, large enough that hand-over costs nothing per byte.
    public static let payload = 1 << 20
    /// Free bytes before the payload: the largest piece a consumer carries over from the slab before.
    public static let headroom = 256 << 10
}
