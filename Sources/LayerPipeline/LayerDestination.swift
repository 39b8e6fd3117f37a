import LayerDrivers
import LayerEngine
import LayerModel
import LayerPacking
import LinuxIO

/// Where a layer's stream is unpacked: a directory, or a layer of a store. The way in is the same for both
/// (`LayerIntake`).
protocol LayerDestination {
    /// Unpacks the stream. `verify` is called when all of it was unpacked, and before it is kept where that is a step of
    /// its own; if it throws, so does this.
    func unpack<Source: SlabSource & ~Copyable>(
        _ stream: inout Source, options: ApplyOptions, verify: () throws(LayerError) -> Void
    ) throws(LayerError) -> ApplyReport
}

extension ImportRoot: LayerDestination {
    func unpack<Source: SlabSource & ~Copyable>(
        _ stream: inout Source, options: ApplyOptions, verify: () throws(LayerError) -> Void
    ) throws(LayerError) -> ApplyReport {
        hasStarted = true
        let report = try ApplyEngine.apply(&stream, root: descriptor, options: options)
        try verify()
        return report
    }
}

/// A directory that its owner throws away after an error.
final class GivenDirectory: LayerDestination {
    private let descriptor: OwnedDescriptor

    init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }

    func unpack<Source: SlabSource & ~Copyable>(
        _ stream: inout Source, options: ApplyOptions, verify: () throws(LayerError) -> Void
    ) throws(LayerError) -> ApplyReport {
        let report = try ApplyEngine.apply(&stream, root: descriptor, options: options)
        try verify()
        return report
    }
}

/// A layer that is packed where that can be done.
struct PackedDestination: LayerDestination {
    private let id: Int64
    private let layers: PackedContents
    private let hasParent: Bool
    private let source: PackOrigin?

    init(_ id: Int64, _ layers: PackedContents, _ hasParent: Bool, _ source: PackOrigin?) {
        self.id = id
        self.layers = layers
        self.hasParent = hasParent
        self.source = source
    }

    func unpack<Source: SlabSource & ~Copyable>(
        _ stream: inout Source, options: ApplyOptions, verify: () throws(LayerError) -> Void
    ) throws(LayerError) -> ApplyReport {
        try layers.fill(id, from: &stream, hasParent: hasParent, options: options, source: source, verify)
    }
}

/// A source that somebody else may go on reading when its consumer has seen the end.
final class SourceBox<Base: SlabSource & ~Copyable> {
    var base: Base
    init(_ base: consuming Base) { self.base = base }
}

/// The consumer's view of a source in a box.
struct BoxedSource<Base: SlabSource & ~Copyable>: SlabSource, ~Copyable {
    private let box: SourceBox<Base>

    init(_ box: SourceBox<Base>) { self.box = box }

    mutating func next() throws(LayerError) -> Slab? { try box.base.next() }
    mutating func recycle(_ slab: consuming Slab) { box.base.recycle(slab) }
}
