import Glibc
public import LayerModel
import LinuxIO

/// Bytes of a layer from somewhere else than a descriptor, such as a library user's own reader.
///
/// Called from one thread at a time, which may be any.
public protocol ForeignInput: Sendable {
    /// Appends the next bytes, as many as there is room for at most; none at the end. May wait.
    func read(into buffer: inout OutputRawSpan) throws(LayerError)
}

/// The same that can begin anew, for what is proved before it is unpacked.
public protocol RewindableInput: ForeignInput {
    /// What errors call it.
    var displayPath: PathBytes { get }

    /// Goes back to the beginning. Nobody reads meanwhile.
    func rewind() throws(LayerError)
}

/// Where the bytes of a layer come from.
enum InputBytes {
    /// A descriptor that somebody else keeps open.
    case descriptor(Int32)
    case foreign(any ForeignInput)
}

/// Reads the bytes of a layer in large pieces, and counts, hashes and cancels on the way.
///
/// Used by one thread at a time.
final class CompressedInput: @unchecked Sendable {
    /// Bytes of one read: large enough to make calls rare, small enough to stay in a core's cache.
    static let readSize = 256 << 10

    /// What was read and not yet used up: `buffer.start ..< buffer.end`.
    let buffer = Slab(capacity: CompressedInput.readSize)
    /// Bytes read from the descriptor so far.
    private(set) var byteCount: UInt64 = 0
    /// Whether the descriptor has no more bytes.
    private(set) var isAtEnd = false
    /// Set to hash what is read from here on; bytes already buffered are taken in at once.
    private(set) var digest: DigestState?

    private let source: InputBytes
    /// Bytes that were taken and are to come once more, before all others; counted and hashed already.
    private var returned: [Slab] = []
    private var hasEnded = false
    /// Whether reading can wait for somebody: pipes, sockets, terminals.
    private let mayBlock: Bool
    private let stop: CancelFlag
    private let cancel: CancelFlag?
    private let progress: ByteCounter?

    init(_ source: InputBytes, stop: CancelFlag, cancel: CancelFlag?, progress: ByteCounter?) {
        self.source = source
        self.stop = stop
        self.cancel = cancel
        self.progress = progress
        guard case .descriptor(let descriptor) = source else {
            mayBlock = false
            return
        }
        var status = stat()
        // Reason: fstat fills the one structure it is given.
        let isKnown = unsafe fstat(descriptor, &status) == 0
        let isFile = isKnown && status.st_mode & S_IFMT == S_IFREG
        // poll ignores negative descriptors; the read call says what is wrong with them.
        mayBlock = isKnown && !isFile
        if isFile {
            posix_fadvise(descriptor, 0, 0, POSIX_FADV_SEQUENTIAL)
        }
    }

    /// Begins to hash; what is buffered counts as the first bytes.
    func startDigest() {
        var state = DigestState()
        let buffer = buffer
        state.update(buffer.bytes)
        digest = state
    }

    /// Buffers at least `count` bytes, or all there are.
    func buffer(atLeast count: Int) throws(LayerError) {
        let buffer = buffer
        precondition(count <= buffer.capacity)
        if buffer.start > 0 {
            // The little that is left moves to the front; memmove sorts out the overlap.
            let rest = buffer.start..<buffer.end
            buffer.copy(buffer.span(rest), at: 0)
            buffer.start = 0
            buffer.end = rest.count
        }
        while buffer.count < count, !isAtEnd {
            try readMore(into: buffer, limit: buffer.capacity - buffer.end)
        }
    }

    /// Gives up the buffered bytes and reads the next; false at the end of the stream.
    func refill() throws(LayerError) -> Bool {
        guard !isAtEnd else { return false }
        buffer.start = 0
        buffer.end = 0
        try readMore(into: buffer, limit: buffer.capacity)
        return !isAtEnd
    }

    /// Fills `slab` with buffered bytes and then straight from the descriptor, until it is full or the end is reached.
    func fill(_ slab: Slab) throws(LayerError) {
        let buffer = buffer
        let buffered = min(buffer.count, slab.capacity - slab.end)
        slab.append(buffer.span(buffer.start..<buffer.start + buffered))
        buffer.start += buffered
        while slab.end < slab.capacity, !isAtEnd {
            try readMore(into: slab, limit: slab.capacity - slab.end)
        }
    }

    /// Reads and throws away what follows the part that a decoder wanted, so that it is counted and hashed.
    func skipRest() throws(LayerError) {
        while try refill() {}
    }

    /// Has bytes that were taken come once more, and after them what is buffered.
    func putBack(_ slabs: [Slab]) {
        let buffer = buffer
        let rest = Slab(capacity: max(buffer.count, 1))
        rest.append(buffer.bytes)
        buffer.start = buffer.end
        hasEnded = isAtEnd
        isAtEnd = false
        returned = (slabs + [rest]).filter { $0.count > 0 } + returned
    }

    /// Hands out what was put back; false where there is nothing of it.
    private func takeReturned(into slab: Slab, limit: Int) -> Bool {
        guard let first = returned.first else { return false }
        let count = min(first.count, limit)
        slab.append(first.span(first.start..<first.start + count))
        first.start += count
        if first.count == 0 { returned.removeFirst() }
        return true
    }

    /// One read of at most `limit` bytes behind the valid bytes of `slab`.
    private func readMore(into slab: Slab, limit: Int) throws(LayerError) {
        if takeReturned(into: slab, limit: limit) { return }
        if hasEnded {
            isAtEnd = true
            return
        }
        let begin = slab.end
        let count: Int
        switch source {
        case .descriptor(let descriptor): count = try read(descriptor, into: slab, begin..<begin + limit)
        case .foreign(let input):
            try check()
            count = try slab.fill(begin..<begin + limit) { (buffer) throws(LayerError) in try input.read(into: &buffer)
            }
        }
        isAtEnd = count == 0
        slab.end += count
        byteCount += UInt64(count)
        progress?.add(count)
        digest?.update(slab.span(begin..<slab.end))
    }

    private func read(_ descriptor: Int32, into slab: Slab, _ range: Range<Int>) throws(LayerError) -> Int {
        while true {
            try waitUntilReadable(descriptor)
            // Reason: the kernel writes at most as many bytes as the range has, all inside the slab, which nobody else holds.
            let count = unsafe slab.withUnsafeAddress(range) { unsafe Glibc.read(descriptor, $0, range.count) }
            if count >= 0 { return count }
            let error = errno
            if error == EINTR || error == EAGAIN { continue }
            throw LayerError(SystemCallError("read", errno: error), "read the layer", path: nil)
        }
    }

    private func check() throws(LayerError) {
        try stop.check("read the layer")
        try cancel?.check("read the layer")
    }

    /// Blocks until the descriptor has bytes, an end or an error; throws `cancelled` when told to stop.
    private func waitUntilReadable(_ descriptor: Int32) throws(LayerError) {
        try check()
        guard mayBlock else { return }
        var entries = [
            pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0),
            pollfd(fd: stop.descriptor, events: Int16(POLLIN), revents: 0),
            pollfd(fd: cancel?.descriptor ?? -1, events: Int16(POLLIN), revents: 0),
        ]
        while true {
            // Reason: the kernel reads and writes the three entries during the call.
            let ready = unsafe poll(&entries, 3, -1)
            if ready < 0, errno != EINTR { return }
            try check()
            if entries[0].revents != 0 { return }
        }
    }
}
