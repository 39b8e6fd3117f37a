import LayerModel
import LinuxIO

/// The threads behind a `LayerReader`: one that reads and decompresses, and one that hashes if that is asked for.
final class ReaderPipeline: Sendable {
    let exchange = SlabExchange()
    private let options: LayerReaderOptions
    private let stopFlag = CancelFlag()
    private let threads = HelperThreads()
    private let results = Monitor(Results())

    private struct Results {
        var summary: LayerSummary?
        var diffID: Digest?
    }

    /// Starts reading; a descriptor must stay open until `shutDown` returns.
    init(_ source: InputBytes, format: LayerFormat?, options: LayerReaderOptions) throws(LayerError) {
        self.options = options
        let input = CompressedInput(
            source, stop: stopFlag, cancel: options.cancel, progress: options.progress)
        try threads.start { [self] in
            do throws(LayerError) {
                try decode(input, as: format)
                exchange.end(nil)
            } catch {
                exchange.end(error)
            }
        }
    }

    /// Ends all threads and waits for them. Called once, and last.
    func shutDown() {
        stopFlag.cancel()
        exchange.stop()
        join()
    }

    /// After the consumer saw the end: waits for the digests.
    func finish() -> LayerSummary? {
        join()
        return results.change { results in
            var summary = results.summary
            if let diffID = results.diffID {
                summary?.diffID = options.hashUncompressed ? diffID : nil
                if summary?.format == LayerFormat.none, options.hashCompressed { summary?.compressedDigest = diffID }
            }
            return summary
        }
    }

    /// The decoder may start the hasher while it runs, so it is joined first.
    private func join() {
        threads.join()
    }

    private func decode(_ input: CompressedInput, as given: LayerFormat?) throws(LayerError) {
        var format = given ?? .none
        if given == nil {
            try input.buffer(atLeast: LayerFormat.detectionLength)
            let buffer = input.buffer
            format = LayerFormat.detect(buffer.bytes)
        }
        try format.require("decompress the layer")
        // An uncompressed stream is hashed once, whichever digest was asked for.
        let isPlain = format == .none
        if options.hashCompressed, !isPlain { input.startDigest() }
        if options.hashUncompressed || (options.hashCompressed && isPlain) { try startHasher() }
        var byteCount: UInt64 = 0
        switch format {
        case .none:
            byteCount = try run(PlainDecoder(), input)
        case .gzip:
            if options.memberStarts.isEmpty {
                byteCount = try run(GzipDecoder(), input)
            } else {
                let workers = WorkerPool(count: options.workers).count
                byteCount = try run(GzipMembersDecoder(starts: options.memberStarts, workers: workers), input)
            }
        case .zstd:
            byteCount = try run(ParallelZstdDecoder(workers: WorkerPool(count: options.workers).count), input)
        case .bzip2, .xz, .lz4:
            // An empty layer has no compressed form (A4).
            try input.buffer(atLeast: 1)
            if input.buffer.count > 0 { byteCount = try run(ArchiveDecoder(format), input) }
        }
        let summary = LayerSummary(
            format: format, compressedBytes: input.byteCount, uncompressedBytes: byteCount,
            compressedDigest: input.digest?.finalize(), diffID: nil)
        results.change { $0.summary = summary }
    }

    /// Decodes to the end of the stream and returns its length.
    private func run<Decoder: StreamDecoder & ~Copyable>(
        _ decoder: consuming Decoder, _ input: CompressedInput
    ) throws(LayerError) -> UInt64 {
        var decoder = decoder
        var byteCount: UInt64 = 0
        while true {
            guard let slab = exchange.takeFree() else { return byteCount }
            do throws(LayerError) {
                try decoder.fill(slab, from: input)
            } catch {
                // What came out before the damage is still delivered.
                if slab.count > 0 { exchange.publish(slab) }
                throw error
            }
            let isLast = slab.end < slab.capacity
            byteCount += UInt64(slab.count)
            try checkLimits(byteCount, input.byteCount)
            if slab.count > 0 { exchange.publish(slab) }
            if isLast { return byteCount }
        }
    }

    private func checkLimits(_ uncompressed: UInt64, _ compressed: UInt64) throws(LayerError) {
        if let limit = options.maxUncompressedBytes, uncompressed > limit {
            throw LayerError(
                .limitExceeded, "decompress the layer",
                cause: .reason("more than \(limit) bytes come out of the layer"))
        }
        if let ratio = options.maxRatio, uncompressed > LayerReaderOptions.ratioGrace,
            uncompressed / ratio > compressed
        {
            throw LayerError(
                .limitExceeded, "decompress the layer",
                cause: .reason("more than \(ratio) bytes come out of each compressed byte"))
        }
    }

    private func startHasher() throws(LayerError) {
        exchange.expectHasher()
        try threads.start { [self] in
            var state = DigestState()
            while let work = exchange.nextToHash() { state.update(work.slab.span(work.range)) }
            let digest = state.finalize()
            results.change { $0.diffID = digest }
        }
    }
}
