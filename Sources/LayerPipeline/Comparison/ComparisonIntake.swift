import LayerCompression
package import LayerModel
import LinuxIO
import Synchronization
import TarCodec

/// Reads a layer's tar into a tree and hashes the contents of files as they pass.
package struct ComparisonIntake: ByteSink, ~Copyable {
    private let tree: ComparedTree
    private let stop: ComparisonStop
    private var decoder = TarDecoder()
    private var file: Int?
    private var state = DigestState()
    /// Bytes of the entry's body to come.
    private var left: Int64 = 0
    /// Of a sparse file: the extent that is read, and how much of the file stands before what comes next.
    private var extent = 0
    private var extentLeft: Int64 = 0
    private var position: Int64 = 0
    private var isAtEnd = false
    private static let zeros = Slab(capacity: 256 << 10, zeroed: 256 << 10)

    /// Begins a layer of `tree`, the lowest or the one above those that were read.
    init(_ tree: ComparedTree, _ stop: ComparisonStop) {
        self.tree = tree
        self.stop = stop
        tree.beginLayer()
    }

    package mutating func write(_ bytes: RawSpan) throws(LayerError) {
        try stop.check()
        var at = 0
        while at < bytes.byteCount, !isAtEnd {
            let window = bytes.extracting(at..<bytes.byteCount)
            at += left > 0 ? try takeBody(window) : try takeHeaders(window)
        }
    }

    package mutating func finish() throws(LayerError) {
        do throws(TarError) {
            try decoder.endOfInput()
        } catch {
            throw Self.error(error)
        }
    }

    private mutating func takeHeaders(_ window: RawSpan) throws(LayerError) -> Int {
        let found: (consumed: Int, step: TarDecoder.Step)
        do throws(TarError) {
            found = try decoder.step(window)
        } catch {
            throw Self.error(error)
        }
        switch found.step {
        case .needMore: break
        case .entry: try beginEntry()
        case .end: isAtEnd = true
        }
        return found.consumed
    }

    private mutating func beginEntry() throws(LayerError) {
        file = try tree.take(decoder)
        left = decoder.storedByteCount
        state = DigestState()
        (position, extent, extentLeft) = (0, 0, 0)
        guard file != nil, left == 0 else { return }
        // A sparse file of nothing but holes.
        try endEntry()
    }

    private mutating func takeBody(_ window: RawSpan) throws(LayerError) -> Int {
        var count = Int(min(left, Int64(window.byteCount)))
        if file != nil {
            if decoder.isSparse {
                if extentLeft == 0 { beginExtent() }
                count = Int(min(Int64(count), extentLeft))
                extentLeft -= Int64(count)
            }
            state.update(window.extracting(0..<count))
            position += Int64(count)
        }
        decoder.advance(count)
        left -= Int64(count)
        if left == 0 { try endEntry() }
        return count
    }

    private mutating func beginExtent() {
        guard extent < decoder.sparseExtentCount else {
            extentLeft = left
            return
        }
        let place = decoder.sparseExtent(extent)
        fill(to: place.offset)
        extentLeft = place.length
        extent += 1
    }

    private mutating func fill(to end: Int64) {
        while position < end {
            let count = Int(min(end - position, Int64(Self.zeros.capacity)))
            state.update(Self.zeros.span(0..<count))
            position += Int64(count)
        }
    }

    private mutating func endEntry() throws(LayerError) {
        guard let file else { return }
        fill(to: decoder.fields.size)
        try tree.setDigest(state.finalize(), of: file)
        self.file = nil
    }

    @inline(never)
    private static func error(_ error: TarError) -> LayerError {
        LayerError(
            error.kind == .limitExceeded ? .limitExceeded : .invalidArchive, "compare",
            cause: .archive(offset: error.offset, reason: error.reason.description))
    }
}

/// Stops both sides of a comparison when one of them has failed, or somebody wishes it.
package final class ComparisonStop: Sendable {
    private let hasFailed = Atomic<Bool>(false)
    private let cancel: CancelFlag

    init(_ cancel: CancelFlag) { self.cancel = cancel }

    func fail() { hasFailed.store(true, ordering: .relaxed) }

    package func check() throws(LayerError) {
        try cancel.check("compare")
        guard hasFailed.load(ordering: .relaxed) else { return }
        throw LayerError(.cancelled, "compare", cause: .reason("the other side could not be read"))
    }
}
