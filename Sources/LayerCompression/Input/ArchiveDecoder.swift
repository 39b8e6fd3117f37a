import LayerModel

#if OtherFormats
    import CArchive
#else
    import CAbsent
#endif

/// Decompresses bzip2, xz and lz4 with libarchive's filters, in this process (A6).
@safe
struct ArchiveDecoder: StreamDecoder, ~Copyable {
    private let archive: OpaquePointer
    private let format: LayerFormat
    private let feed: Feed
    private var isOpen = false
    private var isFinished = false

    init(_ format: LayerFormat) throws(LayerError) {
        // Reason: the new archive is handed over at once.
        unsafe self.init(format, archive: try Self.makeArchive(format))
    }

    /// Takes over `archive`.
    private init(_ format: LayerFormat, archive: OpaquePointer) {
        self.feed = Feed()
        self.format = format
        unsafe self.archive = archive
    }

    /// A libarchive reader for the one filter. It is named, not guessed, so that compressed contents are not unpacked
    /// a second time. Anything but plain success would mean that libarchive wants to run a program.
    private static func makeArchive(_ format: LayerFormat) throws(LayerError) -> OpaquePointer {
        let filter: Int32
        switch format {
        case .bzip2: filter = ARCHIVE_FILTER_BZIP2
        case .xz: filter = ARCHIVE_FILTER_XZ
        default: filter = ARCHIVE_FILTER_LZ4
        }
        // Reason: the new archive is only used here, and freed here if it does not become the result.
        guard let archive = unsafe archive_read_new() else {
            throw LayerError(.io, "decompress the layer", cause: .reason("\(format.name): out of memory"))
        }
        let isReady =
            unsafe archive_read_append_filter(archive, filter) == ARCHIVE_OK
            && archive_read_support_format_raw(archive) == ARCHIVE_OK
            && archive_read_support_format_empty(archive) == ARCHIVE_OK
        guard isReady else {
            unsafe archive_read_free(archive)
            throw LayerError(
                .unsupported, "decompress the layer",
                cause: .reason("this system's libarchive cannot decompress \(format.name)"))
        }
        return unsafe archive
    }

    deinit {
        // Reason: created in init; freeing also ends the filters.
        unsafe archive_read_free(archive)
    }

    mutating func fill(_ slab: Slab, from input: CompressedInput) throws(LayerError) {
        feed.input = input
        defer { feed.input = nil }
        if !isOpen { try open(input) }
        while slab.end < slab.capacity, !isFinished {
            let room = slab.capacity - slab.end
            // Reason: libarchive writes at most `room` bytes, inside the slab, which only this thread holds.
            let count = unsafe slab.withUnsafeAddress(slab.end..<slab.capacity) { target in
                unsafe archive_read_data(archive, target, room)
            }
            if count < 0 { throw error() }
            slab.end += count
            if count == 0 { try finish(input) }
        }
    }

    private mutating func open(_ input: CompressedInput) throws(LayerError) {
        isOpen = true
        // Reason: the feed outlives the archive, which this value frees in deinit; libarchive calls back only during
        // calls made here.
        let context = unsafe Unmanaged.passUnretained(feed).toOpaque()
        guard unsafe archive_read_open(archive, context, nil, readFeed, nil) == ARCHIVE_OK,
            // A filter that fails at once looks like an empty stream to the rest of libarchive.
            unsafe archive_errno(archive) == 0
        else { throw error() }
        var entry: OpaquePointer?
        switch unsafe archive_read_next_header(archive, &entry) {
        case ARCHIVE_OK: break
        case ARCHIVE_EOF: try finish(input)
        default: throw error()
        }
    }

    private mutating func finish(_ input: CompressedInput) throws(LayerError) {
        isFinished = true
        // libarchive ends quietly at whatever does not look like one more stream, a damaged header included.
        // Reason: the archive is alive.
        let consumed = unsafe archive_filter_bytes(archive, -1)
        try input.skipRest()
        guard consumed == Int64(input.byteCount) else {
            throw .damagedStream(format, "trailing garbage after the stream, or a damaged header in it")
        }
    }

    private func error() -> LayerError {
        if let error = feed.failure { return error }
        // Reason: the text belongs to the archive, which is alive, and is copied at once.
        guard let text = unsafe archive_error_string(archive) else {
            return .damagedStream(format, "the compressed data is damaged")
        }
        return unsafe .damagedStream(format, String(cString: text))
    }

    /// What libarchive's callback sees: the input during a call, and the error it met.
    fileprivate final class Feed {
        var input: CompressedInput?
        var failure: LayerError?
        private var isFirst = true

        /// The next bytes, valid until the next call; none at the end. Sets `failure` and gives nil on errors.
        func next() -> Slab? {
            guard let input else { return nil }
            do throws(LayerError) {
                if isFirst, input.buffer.count > 0 {
                    isFirst = false
                    return input.buffer
                }
                isFirst = false
                if try !input.refill() {
                    input.buffer.start = input.buffer.end
                }
                return input.buffer
            } catch {
                failure = error
                return nil
            }
        }
    }
}

private func readFeed(
    _: OpaquePointer?, _ context: UnsafeMutableRawPointer?, _ bytes: UnsafeMutablePointer<UnsafeRawPointer?>?
) -> Int {
    // Reason, here and below: the context is the feed that `open` passed, alive during the call; the bytes stay where they are until
    // libarchive asks for the next ones.
    guard let context = unsafe context, let bytes = unsafe bytes else { return -1 }
    let feed = unsafe Unmanaged<ArchiveDecoder.Feed>.fromOpaque(context).takeUnretainedValue()
    guard let slab = feed.next() else { return -1 }
    unsafe slab.withUnsafeAddress(slab.start..<slab.end) { unsafe bytes.pointee = UnsafeRawPointer($0) }
    return slab.count
}
