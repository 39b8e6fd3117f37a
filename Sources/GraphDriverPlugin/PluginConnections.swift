import LinuxIO
import NIOCore
import Synchronization

/// All connections of the socket: no more than the process can bear, and none that its peer has forgotten.
final class PluginConnections: Sendable {
    /// Docker keeps a handful. Each may hold a megabyte of a layer that waits for a thread.
    private static let most = 1024
    /// How long a peer may leave us waiting. Docker's commit feeds one call with the answer of another, which may have to
    /// compare millions of files before its first byte.
    static let patience = TimeAmount.minutes(10)
    /// A peer that moved this lately is not given up for a new one.
    private static let grace = TimeAmount.seconds(1)

    private let limit: Int
    private let all = Mutex<[ObjectIdentifier: ConnectionWatch]>([:])

    /// Leaves most of the descriptors to the calls themselves.
    init(descriptors: Int) { limit = max(4, min(Self.most, descriptors / 4)) }

    var count: Int { all.withLock { $0.count } }

    /// Takes a new one in. Where there are too many the one that has left us waiting longest goes: first one without a
    /// request, then one with a request that is not whole or an answer that is not taken. Where none has, the new one goes.
    func add(_ new: ConnectionWatch) {
        let victim = all.withLock { all -> ConnectionWatch? in
            all[ObjectIdentifier(new)] = new
            return all.count > limit ? Self.longestSilent(all.values, before: .now() - Self.grace) ?? new : nil
        }
        guard let victim else { return }
        // It counts no more, or the next to come would choose it again.
        remove(victim)
        victim.close()
    }

    func remove(_ watch: ConnectionWatch) { all.withLock { $0[ObjectIdentifier(watch)] = nil } }

    /// Ends those whose peers have left us waiting for so long, and tells how many.
    func closeSilent(for time: TimeAmount) -> Int {
        let limit = NIODeadline.now() - time
        let silent = snapshot.filter { watch in watch.silentSince.map { $0.time < limit } ?? false }
        for watch in silent { watch.close() }
        return silent.count
    }

    /// Ends idle ones at once, and busy ones after their answer.
    func quiesce() { for watch in snapshot { watch.quiesce() } }

    func closeAll() { for watch in snapshot { watch.close() } }

    private var snapshot: [ConnectionWatch] { all.withLock { Array($0.values) } }

    private static func longestSilent(_ all: some Sequence<ConnectionWatch>, before limit: NIODeadline)
        -> ConnectionWatch?
    {
        var (idle, other): ((NIODeadline, ConnectionWatch)?, (NIODeadline, ConnectionWatch)?) = (nil, nil)
        for watch in all {
            guard let (time, phase) = watch.silentSince, time < limit else { continue }
            if phase == .idle {
                if idle.map({ time < $0.0 }) ?? true { idle = (time, watch) }
            } else {
                if other.map({ time < $0.0 }) ?? true { other = (time, watch) }
            }
        }
        return idle?.1 ?? other?.1
    }
}
