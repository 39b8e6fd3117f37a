public import LayerModel

/// Passes a produced tar stream on and packs it meanwhile.
public struct TarSplitSink<Base: ByteSink & ~Copyable, Metadata: ByteSink & ~Copyable>: ByteSink, ~Copyable {
    private var base: Base
    private var packer: TarSplitPacker<Metadata>
    /// What was packed; after `finish`.
    public private(set) var summary = TarSplitSummary()

    /// Takes over both.
    public init(_ base: consuming Base, packer: consuming TarSplitPacker<Metadata>) {
        self.base = base
        self.packer = packer
    }

    public mutating func write(_ bytes: RawSpan) throws(LayerError) {
        try packer.write(bytes)
        try base.write(bytes)
    }

    public mutating func write(_ slab: Slab, returningTo pool: SlabPool) throws(LayerError) {
        try packer.write(slab.bytes)
        try base.write(slab, returningTo: pool)
    }

    public mutating func finish() throws(LayerError) {
        try base.finish()
        summary = try packer.finish()
    }

    /// Gives the sink back.
    public consuming func takeBase() -> Base { base }
}

/// Passes a consumed tar stream on and packs it meanwhile.
///
/// Bytes are packed before they are handed over, since their consumer may change where a slab begins.
public struct TarSplitSource<Base: SlabSource & ~Copyable, Metadata: ByteSink & ~Copyable>: SlabSource, ~Copyable {
    private var base: Base
    private var packer: TarSplitPacker<Metadata>
    /// Why packing stopped. The consumer may know better what is wrong with such an archive, so it comes first.
    private var failure: LayerError?

    /// Takes over both.
    public init(_ base: consuming Base, packer: consuming TarSplitPacker<Metadata>) {
        self.base = base
        self.packer = packer
    }

    public mutating func next() throws(LayerError) -> Slab? {
        guard let slab = try base.next() else { return nil }
        guard failure == nil else { return slab }
        do throws(LayerError) {
            try packer.write(slab.bytes)
        } catch {
            failure = error
        }
        return slab
    }

    public mutating func recycle(_ slab: consuming Slab) {
        base.recycle(slab)
    }

    /// Packs what the consumer left of the stream and completes the metadata.
    public mutating func finish() throws(LayerError) -> TarSplitSummary {
        while let slab = try next() { base.recycle(slab) }
        if let failure { throw failure }
        return try packer.finish()
    }

    /// Gives the source back.
    public consuming func takeBase() -> Base { base }
}
