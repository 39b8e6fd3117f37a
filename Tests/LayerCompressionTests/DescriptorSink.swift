import Glibc
import LayerModel

/// Writes everything to a descriptor that stays the caller's: a file, pipe or socket, blocking or not.
///
/// A reader that has gone shows as `LayerError.io` with EPIPE where the program ignores SIGPIPE, as it should.
struct DescriptorSink: ByteSink, ~Copyable {
    /// Bytes written so far.
    private(set) var byteCount: UInt64 = 0
    private let descriptor: Int32

    /// Borrows `descriptor`, which must stay open until the last call.
    init(descriptor: Int32) {
        self.descriptor = descriptor
    }

    mutating func write(_ bytes: RawSpan) throws(LayerError) {
        var offset = 0
        while offset < bytes.byteCount {
            let written = bytes.withUnsafeBytes { buffer -> Int in
                guard let base = buffer.baseAddress else { return 0 }
                return Glibc.write(descriptor, base + offset, buffer.count - offset)
            }
            if written > 0 {
                offset += written
                byteCount += UInt64(written)
                continue
            }
            let error = written == 0 ? EIO : errno
            switch error {
            case EINTR: continue
            case EAGAIN: waitUntilWritable()
            default: throw LayerError(SystemCallError("write", errno: error), "write the stream", path: nil)
            }
        }
    }

    mutating func finish() throws(LayerError) {}

    private func waitUntilWritable() {
        var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        // Failures show in the write that follows.
        _ = poll(&entry, 1, -1)
    }
}
