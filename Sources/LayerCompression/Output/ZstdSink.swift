public import LayerModel

#if Zstd
    import CZstd
#else
    import CAbsent
#endif

/// The zstd levels that exist here.
public enum ZstdLevel {
    /// libzstd's ordinary levels.
    public static let range = 1...19
    /// Used where none is asked for; zstd's own.
    public static let standard = 3
}

/// Compresses to one zstd frame with libzstd's threads; a content checksum ends the frame.
///
/// The job size is fixed, so the output depends on the input and the level only, never on the number of workers
/// or on how the writes were cut. `base` is only called on the caller's thread.
public struct ZstdSink<Base: ByteSink & ~Copyable>: ByteSink, ~Copyable {
    /// The sink that takes the compressed bytes.
    public private(set) var base: Base
    private let encoder: ZstdEncoder

    /// Takes over `base`; `workers` threads compress (at least one).
    ///
    /// Throws `invalidArgument` for a level outside `ZstdLevel.range`, and `io` when libzstd gets no memory.
    public init(_ base: consuming Base, level: Int? = nil, workers: Int) throws(LayerError) {
        let level = level ?? ZstdLevel.standard
        guard ZstdLevel.range.contains(level) else {
            throw LayerError(
                .invalidArgument, "compress with zstd", cause: .reason("there is no zstd level \(level)"),
                hint: "levels are \(ZstdLevel.range.lowerBound) to \(ZstdLevel.range.upperBound)")
        }
        try LayerFormat.zstd.require("compress with zstd")
        encoder = try ZstdEncoder(level: level, workers: max(workers, 1))
        self.base = base
    }

    public mutating func write(_ bytes: RawSpan) throws(LayerError) {
        var offset = 0
        while offset < bytes.byteCount {
            offset += try encoder.compress(bytes.extracting(offset..<bytes.byteCount))
            try writeOutput()
        }
    }

    public mutating func finish() throws(LayerError) {
        var isComplete = false
        while !isComplete {
            isComplete = try encoder.end()
            try writeOutput()
        }
        try base.finish()
    }

    private mutating func writeOutput() throws(LayerError) {
        let output = encoder.output
        if output.count > 0 { try base.write(output.bytes) }
    }
}

/// Owns a compression context of libzstd, which joins its threads when it is freed.
@safe
final class ZstdEncoder {
    /// What the last call produced; valid until the next.
    let output = Slab(capacity: ZSTD_CStreamOutSize() * 4)
    private let context: OpaquePointer

    /// Bytes that one of libzstd's jobs compresses: fixed, because the cut between jobs shows in the output.
    private static let jobSize: Int32 = 4 << 20

    init(level: Int, workers: Int) throws(LayerError) {
        // Reason: the context is owned by this object and freed once, in deinit.
        guard let context = unsafe ZSTD_createCCtx() else {
            throw LayerError(.io, "compress with zstd", cause: .reason("out of memory"))
        }
        unsafe self.context = context
        try set(ZSTD_c_compressionLevel, Int32(level))
        try set(ZSTD_c_checksumFlag, 1)
        try set(ZSTD_c_nbWorkers, Int32(min(workers, 64)))
        try set(ZSTD_c_jobSize, Self.jobSize)
    }

    deinit {
        // Reason: created in init, used by nobody else.
        unsafe ZSTD_freeCCtx(context)
    }

    /// Takes in some of `bytes`, at least one, and says how many.
    func compress(_ bytes: RawSpan) throws(LayerError) -> Int {
        var consumed = 0
        // Reason: the buffer is only read during the call, inside its bounds.
        let result = unsafe bytes.withUnsafeBytes { buffer in
            var input = unsafe ZSTD_inBuffer(src: buffer.baseAddress, size: buffer.count, pos: 0)
            let result = unsafe run(&input, ZSTD_e_continue)
            consumed = unsafe input.pos
            return result
        }
        try check(result)
        return consumed
    }

    /// Produces some of what is left and says whether that was all.
    func end() throws(LayerError) -> Bool {
        // Reason: an empty input has no memory to outlive.
        var input = unsafe ZSTD_inBuffer(src: nil, size: 0, pos: 0)
        let result = unsafe run(&input, ZSTD_e_end)
        try check(result)
        return result == 0
    }

    private func run(_ input: inout ZSTD_inBuffer, _ directive: ZSTD_EndDirective) -> Int {
        output.start = 0
        // Reason: libzstd writes at most the slab's capacity, and nobody else holds the slab.
        return unsafe output.withUnsafeAddress(0..<output.capacity) { target in
            var buffer = unsafe ZSTD_outBuffer(dst: target, size: output.capacity, pos: 0)
            let result = unsafe ZSTD_compressStream2(context, &buffer, &input, directive)
            output.end = unsafe buffer.pos
            return result
        }
    }

    private func set(_ parameter: ZSTD_cParameter, _ value: Int32) throws(LayerError) {
        // Reason: the context is alive.
        try check(unsafe ZSTD_CCtx_setParameter(context, parameter, value))
    }

    private func check(_ result: Int) throws(LayerError) {
        guard ZSTD_isError(result) != 0 else { return }
        throw LayerError(.io, "compress with zstd", cause: .reason(zstdErrorText(result)))
    }
}

/// libzstd's words for one of its results.
func zstdErrorText(_ result: Int) -> String {
    // Reason: the function returns a constant, NUL-terminated string for every value.
    unsafe String(cString: ZSTD_getErrorName(result))
}
