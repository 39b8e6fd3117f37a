import LayerCompression
import LayerModel
import TarCodec

/// What a layer means, whatever driver wrote it: equal for layers with the same entries and contents.
///
/// Drivers spell a deletion differently: the mode, owner and time of a whiteout say nothing and are left out, and so is the
/// place where it stands among its neighbours.
struct LayerFingerprint: Equatable {
    /// Sum of the entries' digests: the order of entries does not count.
    fileprivate var words: [UInt64] = [0, 0, 0, 0]
    /// The root's not among them.
    fileprivate(set) var entries = 0
    fileprivate(set) var byteCount: UInt64 = 0
}

/// Passes a tar stream on and takes its fingerprint meanwhile.
struct FingerprintSink<Base: ByteSink & ~Copyable>: ByteSink, ~Copyable {
    private(set) var fingerprint = LayerFingerprint()
    private var base: Base
    private var decoder = TarDecoder()
    private var bodyLeft: Int64 = 0
    private var entry: DigestState?
    private var isAtEnd = false
    private let scratch = Slab(capacity: 4096)

    init(_ base: consuming Base) { self.base = base }

    mutating func write(_ bytes: RawSpan) throws(LayerError) {
        try base.write(bytes)
        var at = 0
        while at < bytes.byteCount, !isAtEnd {
            let window = bytes.extracting(at..<bytes.byteCount)
            at += bodyLeft > 0 ? takeBody(window) : try takeHeaders(window)
        }
    }

    mutating func finish() throws(LayerError) {
        do throws(TarError) {
            try decoder.endOfInput()
        } catch {
            throw Self.error(error)
        }
        endEntry()
        try base.finish()
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
        case .entry: beginEntry()
        case .end:
            endEntry()
            isAtEnd = true
        }
        return found.consumed
    }

    private mutating func takeBody(_ window: RawSpan) -> Int {
        let count = Int(min(bodyLeft, Int64(window.byteCount)))
        entry?.update(window.extracting(0..<count))
        decoder.advance(count)
        bodyLeft -= Int64(count)
        fingerprint.byteCount += UInt64(count)
        return count
    }

    private mutating func beginEntry() {
        endEntry()
        var state = DigestState()
        Self.add(decoder.name, to: &state)
        if !Self.isMarker(decoder.name) { Self.addFields(decoder, to: &state, scratch) }
        entry = state
        bodyLeft = decoder.storedByteCount
        if !Self.isRoot(decoder.name) { fingerprint.entries += 1 }
    }

    private mutating func endEntry() {
        guard let digest = entry.take()?.finalize() else { return }
        for (index, word) in digest.words.enumerated() { fingerprint.words[index] &+= word }
    }

    /// A mount alone may change the time of a root.
    private static func isRoot(_ name: RawSpan) -> Bool { bytes(name, equal: "./") }

    /// Whether the last component begins with `.wh.`.
    private static func isMarker(_ name: RawSpan) -> Bool {
        var start = name.byteCount
        while start > 0, name[start - 1] != UInt8(ascii: "/") { start -= 1 }
        return bytes(name.extracting(start..<name.byteCount), startWith: ".wh.")
    }

    private static func addFields(_ decoder: borrowing TarDecoder, to state: inout DigestState, _ scratch: Slab) {
        var fields = decoder.fields
        if isRoot(decoder.name) { (fields.mtimeSeconds, fields.mtimeNanoseconds) = (0, 0) }
        let numbers: [Int64] = [
            Int64(fields.type), Int64(fields.mode & 0o7777), fields.uid, fields.gid, fields.size, fields.mtimeSeconds,
            Int64(fields.mtimeNanoseconds), fields.deviceMajor, fields.deviceMinor,
            Int64(decoder.extendedAttributeCount),
        ]
        var target = scratch.mutableSpan(0..<numbers.count * 8)
        for (index, number) in numbers.enumerated() {
            target.storeBytes(of: number, toByteOffset: index * 8, as: Int64.self)
        }
        state.update(scratch.span(0..<numbers.count * 8))
        add(decoder.linkName, to: &state)
        for index in 0..<decoder.extendedAttributeCount {
            add(decoder.extendedAttributeName(index), to: &state)
            add(decoder.extendedAttributeValue(index), to: &state)
        }
    }

    /// A text with its length before it, so that two texts cannot be taken for two others.
    private static func add(_ text: RawSpan, to state: inout DigestState) {
        state.update(Array("\(text.byteCount) ".utf8).rawBytes)
        state.update(text)
    }

    @inline(never)
    private static func error(_ error: TarError) -> LayerError {
        LayerError(
            .invalidArchive, "compare the layer",
            cause: .archive(offset: error.offset, reason: error.reason.description))
    }
}

extension Digest {
    /// The digest as four numbers.
    fileprivate var words: [UInt64] {
        let digits = Array(hexadecimal.utf8)
        return stride(from: 0, to: 64, by: 16).map { start in
            UInt64(String(decoding: digits[start..<start + 16], as: UTF8.self), radix: 16) ?? 0
        }
    }
}
