package import LayerModel
import LayerRules
import TarCodec

/// Reads a layer's tar as it arrives and keeps what an index of it needs: names, attributes, and where the bytes lie.
///
/// The stream comes in windows of any size and is not changed; whoever feeds it keeps it as the layer's tar. Contents that
/// are no single run of the tar (sparse files) go into a second file, which the caller writes.
package struct LayerPacker: ~Copyable {
    /// What a step came to.
    package enum Step: Sendable, Equatable {
        /// The whole window is used up; call again with more bytes.
        case needMore
        /// `range` of the window's bytes belongs at `offset` of the extra file.
        case extra(range: Range<Int>, offset: Int64)
        /// The archive has ended; what follows in the stream only has to be counted.
        case end
    }

    private var decoder = TarDecoder()
    private var job: PackJob
    private var hasEnded = false
    private var trailingBytes: UInt64 = 0
    /// Bytes of the current entry's body and padding that nobody looks at.
    private var unread: Int64 = 0
    /// The sparse file under way: its place in the extra file, the extent that is being copied, and what is left of it.
    private var extraStart: Int64 = 0
    private var extent = 0
    private var extentDone: Int64 = 0
    private var isCopying = false
    /// Whether the current entry is a file that is kept.
    private var isFile = false
    /// What is said once the current entry's bytes are there: that they are not is the archive's fault, and comes first.
    private var unfit: LayerError?

    /// Contents in the extra file begin at pages.
    private static let extraAlignment: Int64 = 4096
    /// The bytes that a device may have: its blocks are numbered with 32 bits, of which the last is taken.
    private static let longestDevice: Int64 = (1 << 32 - 1) << 9

    package init(_ options: PackOptions = PackOptions()) { job = PackJob(options) }

    /// Entries of the archive so far.
    package var entryCount: Int { job.report.entries }

    /// Bytes of the stream that come next and need not be read: a file's body.
    package var skippableBytes: Int64 { unread }

    /// Passes over bytes of a body that nobody has read.
    package mutating func skip(_ count: Int64) {
        precondition(count >= 0 && count <= unread, "more was skipped than is skippable")
        decoder.advance(Int(count))
        unread -= count
        job.report.streamBytes &+= UInt64(count)
    }

    /// Reads on in a window of the stream; returns how many of its bytes are used up.
    ///
    /// Throws what unpacking would throw for the archive, and `unsupported` for a layer that must be unpacked instead.
    package mutating func step(_ window: RawSpan) throws(LayerError) -> (consumed: Int, step: Step) {
        var position = 0
        while true {
            if hasEnded {
                try countTrailing(window.byteCount - position)
                job.report.streamBytes &+= UInt64(window.byteCount)
                return (window.byteCount, .end)
            }
            if unread > 0 {
                let count = Int(min(unread, Int64(window.byteCount - position)))
                decoder.advance(count)
                unread -= Int64(count)
                position += count
            }
            if isCopying {
                if let (range, offset) = nextExtra(position, window.byteCount) {
                    job.report.streamBytes &+= UInt64(range.upperBound)
                    return (range.upperBound, .extra(range: range, offset: offset))
                }
                // The padding behind the last piece is next.
                if !isCopying { continue }
            }
            guard position < window.byteCount else { break }
            if let unfit { throw unfit }
            switch try decode(window, &position) {
            case .needMore: break
            case .end: hasEnded = true
            case .entry: try takeEntry()
            }
        }
        job.report.streamBytes &+= UInt64(window.byteCount)
        return (window.byteCount, .needMore)
    }

    private mutating func decode(_ window: RawSpan, _ position: inout Int) throws(LayerError) -> TarDecoder.Step {
        do throws(TarError) {
            let (consumed, step) = try decoder.step(window.extracting(position..<window.byteCount))
            position += consumed
            return step
        } catch {
            throw Self.error(error)
        }
    }

    @inline(never)
    private static func error(_ error: TarError) -> LayerError {
        let code: LayerError.Code = error.kind == .limitExceeded ? .limitExceeded : .invalidArchive
        return LayerError(code, "pack", cause: .archive(offset: error.offset, reason: error.reason.description))
    }

    private mutating func countTrailing(_ count: Int) throws(LayerError) {
        trailingBytes &+= UInt64(count)
        guard trailingBytes > job.options.maxTrailingBytes else { return }
        throw LayerError(
            .limitExceeded, "pack",
            cause: .reason("more than \(job.options.maxTrailingBytes) bytes follow the archive's end"))
    }

    private mutating func takeEntry() throws(LayerError) {
        let (sum, overflow) = decoder.storedByteCount.addingReportingOverflow(Int64(decoder.padding))
        let body = overflow ? Int64.max : sum
        do throws(LayerError) {
            isFile = false
            guard let file = try job.begin(decoder), job.tree.inodes[file].size > 0 else {
                unread = body
                return
            }
            isFile = true
            if decoder.isSparse, startSparse(file) { return }
            _ = place(file, device: 1, at: Int64(decoder.offset))
            unread = body
        } catch {
            var error = error
            if error.path == nil { error.path = PathBytes(decoder.name.copied()) }
            throw error
        }
    }

    // MARK: places

    /// Says where a file's bytes lie; false where no index can say that.
    private mutating func place(_ file: UInt32, device: UInt16, at offset: Int64) -> Bool {
        let size = job.tree.inodes[file].size
        precondition(offset & 511 == 0, "contents begin inside a block")
        let (end, overflow) = offset.addingReportingOverflow(size)
        guard !overflow, end <= Self.longestDevice else {
            unfit = unfit(file, "the layer is too long for an index, which has room for 2 TiB")
            return false
        }
        job.tree.inodes[file].device = device
        job.tree.inodes[file].content = UInt32(truncatingIfNeeded: offset >> 9)
        return true
    }

    private func unfit(_ file: UInt32, _ reason: String) -> LayerError {
        var error = job.unfit(reason)
        error.path = PathBytes(decoder.name.copied())
        return error
    }

    /// Places a sparse file; false where its bytes lie in the tar as they are.
    private mutating func startSparse(_ file: UInt32) -> Bool {
        let size = job.tree.inodes[file].size
        if decoder.sparseExtentCount == 1, decoder.sparseExtent(0) == (0, size) { return false }
        if decoder.sparseExtentCount == 0 {
            job.tree.inodes[file].content = ErofsFormat.hole
            unread = decoder.storedByteCount + Int64(decoder.padding)
            if ErofsFormat.chunkCount(size) > ErofsFormat.mostChunks {
                unfit = unfit(file, "a sparse file is too long for an index")
            }
            return true
        }
        let start = job.report.extraBytes
        guard place(file, device: 2, at: start) else { return false }
        // Whole pages: the kernel reads no others.
        job.report.extraBytes = (start + size + Self.extraAlignment - 1) & ~(Self.extraAlignment - 1)
        extraStart = start
        extent = 0
        extentDone = 0
        isCopying = true
        return true
    }

    /// What of the window from `position` on belongs into the extra file, and where; nil where nothing does.
    private mutating func nextExtra(_ position: Int, _ end: Int) -> (Range<Int>, Int64)? {
        guard extent < decoder.sparseExtentCount else {
            isCopying = false
            unread = Int64(decoder.padding)
            return nil
        }
        guard position < end else { return nil }
        let (offset, length) = decoder.sparseExtent(extent)
        let count = Int(min(length - extentDone, Int64(end - position)))
        let place = extraStart + offset + extentDone
        decoder.advance(count)
        extentDone += Int64(count)
        if extentDone == length {
            extent += 1
            extentDone = 0
        }
        return (position..<position + count, place)
    }

    // MARK: the end

    /// Says that the stream has ended, and makes the layer's tree of what came.
    package consuming func finish() throws(LayerError) -> PackedLayer {
        if !hasEnded {
            do throws(TarError) { try decoder.endOfInput() } catch {
                var error = Self.error(error)
                let isCut = isCopying ? extent < decoder.sparseExtentCount : unread > Int64(decoder.padding)
                if isFile, isCut { error.path = PathBytes(decoder.name.copied()) }
                throw error
            }
        }
        if let unfit { throw unfit }
        try job.makeWaiting()
        let report = job.report
        let options = job.options
        return try PackedLayer(job.tree, report, options, devices: report.extraBytes > 0 ? 2 : 1)
    }
}
