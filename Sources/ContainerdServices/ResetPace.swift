import NIOCore

/// Keeps the resets of a connection below the number that NIOHTTP2 takes for an attack, 200 in half a minute: what is above
/// comes later. Until then its call goes on as if somebody waited, and its answer is dropped by the client.
struct ResetPace {
    private static let window = TimeAmount.seconds(30)
    private static let most = 190
    /// Bytes of resets that wait. A client that has given up more calls than these is left to NIOHTTP2.
    private static let room = 128 << 10

    /// When the last ones passed, the oldest first.
    private var times: CircularBuffer<NIODeadline> = []
    private var held = ByteBuffer()
    private var byteCount = 0

    /// When the first that is held may go; nil where none is.
    var nextRelease: NIODeadline? {
        guard held.readableBytes > 0 else { return nil }
        return times.first.map { $0 + Self.window } ?? .now()
    }

    /// Takes a reset, a whole frame, unless it may pass now.
    mutating func hold(_ reset: ByteBuffer, _ now: NIODeadline) -> Bool {
        byteCount = reset.readableBytes
        if held.readableBytes == 0, pass(now) { return false }
        guard held.readableBytes < Self.room else { return false }
        held.writeImmutableBuffer(reset)
        return true
    }

    /// Adds to `passed` what may pass by now.
    mutating func release(into passed: inout ByteBuffer, _ now: NIODeadline) {
        while held.readableBytes > 0, pass(now), var reset = held.readSlice(length: byteCount) {
            passed.writeBuffer(&reset)
        }
        if held.readableBytes == 0 { held.clear() }
    }

    private mutating func pass(_ now: NIODeadline) -> Bool {
        while let first = times.first, first + Self.window <= now { times.removeFirst() }
        guard times.count < Self.most else { return false }
        times.append(now)
        return true
    }
}
