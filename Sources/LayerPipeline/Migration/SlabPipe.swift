import LayerCompression
import LayerModel
import LinuxIO

/// The end of a pipe that is written to: the stream goes from the thread that makes it to the thread that unpacks it.
struct SlabPipeSink: ByteSink, ~Copyable {
    private let pipe: SlabExchange
    private var slab: Slab?

    init(_ pipe: SlabExchange) { self.pipe = pipe }

    mutating func write(_ bytes: RawSpan) throws(LayerError) {
        var at = 0
        while at < bytes.byteCount {
            guard let slab = slab ?? pipe.takeFree() else {
                throw LayerError(.cancelled, "write the layer", cause: .reason("nobody reads it any more"))
            }
            let count = min(slab.capacity - slab.end, bytes.byteCount - at)
            slab.append(bytes.extracting(at..<at + count))
            at += count
            if slab.end == slab.capacity {
                pipe.publish(slab)
                self.slab = nil
            } else {
                self.slab = slab
            }
        }
    }

    mutating func finish() throws(LayerError) {
        if let slab, slab.count > 0 { pipe.publish(slab) }
        slab = nil
    }
}

/// The end of a pipe that is read.
struct SlabPipeSource: SlabSource, ~Copyable {
    private let pipe: SlabExchange

    init(_ pipe: SlabExchange) { self.pipe = pipe }

    mutating func next() throws(LayerError) -> Slab? { try pipe.next() }
    mutating func recycle(_ slab: consuming Slab) { pipe.recycle(slab) }
}
