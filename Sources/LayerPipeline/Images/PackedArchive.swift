import LayerCompression
import LayerEngine
import LayerImages
import LayerModel
import LinuxIO
import TarCodec

/// A layer in a file that goes into an image: looked through once, for its digests and its newest time.
struct PackedArchive: LayerProducer {
    private let path: PathBytes
    let cancel: CancelFlag
    let workers: Int? = nil
    let summary: LayerSummary
    private(set) var newestTime: Int64?
    private(set) var entries = 0

    init(_ path: PathBytes, _ cancel: CancelFlag) throws(LayerError) {
        self.path = path
        self.cancel = cancel
        let layer = try OpenLayer(.file(path))
        guard layer.start != nil else {
            throw LayerError(
                .unsupported, "pack the layer", path: path, cause: .reason("it can be read only once"),
                hint: "name a file")
        }
        var scan = TarScan()
        do throws(LayerError) {
            var options = LayerReaderOptions()
            options.hashCompressed = true
            options.hashUncompressed = true
            options.cancel = cancel
            var reader = try layer.reader(options: options)
            while let slab = try reader.next() {
                try scan.take(slab.bytes)
                reader.recycle(slab)
            }
            try scan.finish()
            summary = try reader.finish()
        } catch {
            throw layer.named(error)
        }
        newestTime = scan.newestTime
        entries = scan.entries
    }

    var diffID: Digest {
        guard let found = summary.diffID else { preconditionFailure("it was asked for") }
        return found
    }

    func descriptor(_ isDocker: Bool) throws(LayerError) -> ImageDescriptor {
        guard let type = MediaType.layer(summary.format), let digest = summary.compressedDigest ?? summary.diffID else {
            throw LayerError(
                .unsupported, "pack the layer", path: path,
                cause: .reason("images have no layers of \(summary.format.name)"), hint: "name a --compress")
        }
        return ImageDescriptor(type.layer(inDockerWords: isDocker), digest, size: Int64(summary.compressedBytes))
    }

    /// Copies the file as it is, and compares its digest once more.
    func copy(into file: borrowing OwnedDescriptor) throws(LayerError) {
        let layer = try OpenLayer(.file(path))
        var options = LayerReaderOptions()
        options.hashCompressed = true
        options.cancel = cancel
        var reader = try layer.reader(format: LayerFormat.none, options: options)
        while let slab = try reader.next() {
            try attempt("write the layer", path) { () throws(SystemCallError) in try file.writeAll(slab.bytes) }
            reader.recycle(slab)
        }
        try layer.verify(try reader.finish(), summary.compressedDigest ?? summary.diffID, nil)
    }

    func produce<Sink: ByteSink & ~Copyable>(
        _ options: DiffOptions, into sink: inout Sink
    ) throws(LayerError) -> DiffReport {
        let layer = try OpenLayer(.file(path))
        var options = LayerReaderOptions()
        options.hashUncompressed = true
        options.cancel = cancel
        var report = DiffReport()
        var reader = try layer.reader(format: summary.format, options: options)
        while let slab = try reader.next() {
            report.bytes += UInt64(slab.count)
            try sink.write(slab.bytes)
            reader.recycle(slab)
        }
        try layer.verify(try reader.finish(), nil, diffID)
        report.entries = entries
        return report
    }
}

/// Goes through the headers of a tar that comes in pieces.
struct TarScan: ~Copyable {
    private var decoder = TarDecoder()
    private(set) var newestTime: Int64?
    private(set) var entries = 0
    /// Bytes of a body and its padding that are still to come.
    private var left: Int64 = 0
    private var isOver = false

    mutating func take(_ bytes: RawSpan) throws(LayerError) {
        var position = 0
        while position < bytes.byteCount, !isOver {
            if left > 0 {
                let count = Int(min(left, Int64(bytes.byteCount - position)))
                decoder.advance(count)
                left -= Int64(count)
                position += count
                continue
            }
            let step: TarDecoder.Step
            do throws(TarError) {
                let (consumed, found) = try decoder.step(bytes.extracting(position..<bytes.byteCount))
                position += consumed
                step = found
            } catch {
                throw Self.error(error)
            }
            switch step {
            case .needMore: break
            case .end: isOver = true
            case .entry:
                entries += 1
                let time = decoder.fields.mtimeSeconds
                newestTime = max(newestTime ?? time, time)
                left = decoder.storedByteCount + Int64(decoder.padding)
            }
        }
    }

    mutating func finish() throws(LayerError) {
        guard !isOver else { return }
        do throws(TarError) { try decoder.endOfInput() } catch { throw Self.error(error) }
    }

    private static func error(_ error: TarError) -> LayerError {
        LayerError(
            .invalidArchive, "read the layer", path: nil,
            cause: .archive(offset: error.offset, reason: error.reason.description))
    }
}
