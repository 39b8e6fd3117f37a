import LayerCompression
import LayerModel
import TarCodec

/// What comes behind the tar.
extension IndexedLayerSink where Base: ~Copyable {
    /// Writes the table of contents, whatever belongs to it, and the footer.
    mutating func writeIndex() throws(LayerError) {
        let start = frames.outputBytes
        if options.format == .zstdChunked { try writeZstdIndex() } else { try writeGzipIndex() }
        summary.entries = table.entryCount
        summary.indexBytes = frames.outputBytes - start + UInt64(summary.table?.count ?? 0)
    }

    private mutating func writeZstdIndex() throws(LayerError) {
        try flushSegment()
        guard var lines = tarSplit.take() else { return }
        try lines.base.finish()
        let split = lines.base.base.bytes
        table.finish(tarSplit: Digest.of(split.rawBytes))
        try writeTableText(all: true)
        let toc = try tableText.finishFrame()
        guard toc.count <= Int(UInt32.max), split.count <= Int(UInt32.max) else {
            throw LayerError(.limitExceeded, "write the index", cause: .reason("it has more than 4 GiB"))
        }
        let tablePlace = try writeSkippable(toc, tableText.byteCount)
        let splitPlace = try writeSkippable(split, lines.byteCount)
        let footer = IndexFooter.zstd(tablePlace, splitPlace)
        try frames.writePlain(footer.rawBytes)
        summary.annotations = [
            IndexAnnotation(IndexAnnotation.manifestChecksum, Digest.of(toc.rawBytes).description),
            IndexAnnotation(
                IndexAnnotation.manifestPosition,
                "\(tablePlace.offset):\(tablePlace.byteCount):\(tablePlace.uncompressedByteCount):1"),
            IndexAnnotation(
                IndexAnnotation.tarSplitPosition,
                "\(splitPlace.offset):\(splitPlace.byteCount):\(splitPlace.uncompressedByteCount)"),
        ]
    }

    private mutating func writeSkippable(_ bytes: [UInt8], _ uncompressed: UInt64) throws(LayerError) -> IndexPlace {
        let header = IndexFooter.skippable(bytes.count)
        try frames.writePlain(header.rawBytes)
        let place = IndexPlace(
            offset: frames.outputBytes, byteCount: UInt64(bytes.count), uncompressedByteCount: uncompressed)
        try frames.writePlain(bytes.rawBytes)
        return place
    }

    private mutating func writeGzipIndex() throws(LayerError) {
        table.finish(tarSplit: nil)
        try writeTableText(all: true)
        let offset = frames.outputBytes
        let member = try tableMember()
        if options.keepsDiffID {
            summary.table = member
            let footer = IndexFooter.external
            try frames.writePlain(footer.rawBytes)
        } else {
            try frames.writePlain(member.rawBytes)
            let footer = IndexFooter.estargz(offset)
            try frames.writePlain(footer.rawBytes)
        }
        summary.annotations = [
            IndexAnnotation(IndexAnnotation.tableDigest, tableText.digest.description),
            IndexAnnotation(IndexAnnotation.uncompressedSize, hash.byteCount.description),
        ]
    }

    /// An archive with the table of contents in it, as a gzip member. Where it ends the layer's tar, it counts as its bytes.
    private mutating func tableMember() throws(LayerError) -> [UInt8] {
        var member = MemberBody(level: options.level ?? GzipLevel.standard)
        let size = Int64(tableText.byteCount)
        let header = Self.header("\(EstargzName.table)", size: size)
        let zeros = [UInt8](repeating: 0, count: TarEncoder.padding(after: size) + TarEncoder.trailerByteCount)
        member.append(header.rawBytes)
        try tableText.forEach { (text) throws(LayerError) in member.append(text) }
        member.append(zeros.rawBytes)
        if !options.keepsDiffID {
            try hash.write(header.rawBytes)
            var hash = DigestSink(NullSink(), hashes: false)
            swap(&hash, &self.hash)
            do throws(LayerError) {
                try tableText.forEach { (text) throws(LayerError) in try hash.write(text) }
            } catch {
                swap(&hash, &self.hash)
                throw error
            }
            swap(&hash, &self.hash)
            try self.hash.write(zeros.rawBytes)
        }
        return member.finish()
    }

    /// The header of a regular file that nobody owns.
    static func header(_ name: String, size: Int64) -> [UInt8] {
        var fields = TarFields()
        fields.type = TarType.regular
        fields.size = size
        var encoder = TarEncoder()
        let (name, nothing) = (Array(name.utf8), [UInt8]())
        do throws(TarError) {
            try encoder.encode(
                fields, name: name.rawBytes, linkName: nothing.rawBytes, userName: nothing.rawBytes,
                groupName: nothing.rawBytes, format: .unspecified)
        } catch {
            preconditionFailure("a plain header can be written")
        }
        return encoder.blocks.copied()
    }

    func requirement() -> LayerError {
        LayerError(
            .unsupported, "write the index of the layer",
            cause: .reason(summary.obstacle.map { "\($0)" } ?? "it cannot be written"),
            hint: "without --require-index the layer is written without an index")
    }

    static func error(_ error: TarError) -> LayerError {
        LayerError(
            error.kind == .limitExceeded ? .limitExceeded : .invalidArchive, "index the layer", path: nil,
            cause: .archive(offset: error.offset, reason: error.reason.description))
    }
}
