import ContainerdAPI
import GRPCCore
import Synchronization

/// Gives leases of blobs back to containerd some time after their blobs were written.
///
/// Nothing tells when a client has written down that it wants a blob: the next that it does is to do so, for which
/// milliseconds are enough, and minutes on a machine that hangs. What this process cannot give back any more expires.
final class LeaseKeeper: Sendable {
    private struct Kept {
        var lease: String
        var namespace: String
        /// The blob's.
        var digest: String
        var end: ContinuousClock.Instant
        /// When containerd ends it itself.
        var expiry: ContinuousClock.Instant
    }

    private struct State {
        /// By their ends.
        var kept: [Kept] = []
        var isRunning = false
    }

    private let containerd: ContainerdClient
    private let life: Duration
    private let state = Mutex(State())
    /// Where containerd does not answer.
    private static let pause: Duration = .seconds(30)

    init(_ containerd: ContainerdClient, life: Duration) {
        self.containerd = containerd
        self.life = life
    }

    /// Takes the lease of a blob that was just written. Where an earlier one holds the blob, that one goes on and this one is given
    /// back, so that a blob has one however often it is written.
    func keep(_ lease: String, _ namespace: String, of digest: String) {
        let now = ContinuousClock.now
        let end = now + life
        let kept = Kept(
            lease: lease, namespace: namespace, digest: digest, end: end,
            expiry: now + .seconds(BlobWriter.leaseSeconds))
        let (mustStart, isHeld) = state.withLock { state in
            defer { state.isRunning = true }
            let earlier = state.kept.firstIndex {
                $0.digest == digest && $0.namespace == namespace && $0.expiry > end
            }
            if let earlier {
                state.kept[earlier].end = end
            } else {
                state.kept.append(kept)
            }
            return (!state.isRunning, earlier != nil)
        }
        if isHeld {
            Task {
                let left = await giveBack([kept])
                state.withLock { $0.kept += left }
            }
        }
        if mustStart { Task { await run() } }
    }

    /// Goes on until none is kept.
    private func run() async {
        while let end = next() {
            try? await Task.sleep(until: end)
            let now = ContinuousClock.now
            let due = state.withLock { state in
                defer { state.kept.removeAll { $0.end <= now } }
                return state.kept.filter { $0.end <= now }
            }
            let left = await giveBack(due).filter { $0.expiry > now }
            state.withLock { state in
                state.kept.append(
                    contentsOf: left.map { kept in
                        var later = kept
                        later.end = now + Self.pause
                        return later
                    })
            }
        }
    }

    private func next() -> ContinuousClock.Instant? {
        state.withLock { state in
            let first = state.kept.lazy.map(\.end).min()
            state.isRunning = first != nil
            return first
        }
    }

    /// Returns those that are still there.
    private func giveBack(_ due: [Kept]) async -> [Kept] {
        let left = try? await containerd.withConnection { connection in
            var left: [Kept] = []
            for kept in due {
                do {
                    _ = try await LeasesAPI.Client(wrapping: connection).delete(
                        .with { $0.id = kept.lease },
                        metadata: ContainerdClient.metadata(namespace: kept.namespace),
                        options: ContainerdClient.short)
                } catch let error as RPCError where error.code == .notFound {
                    // Somebody was faster, or the namespace is gone.
                } catch {
                    left.append(kept)
                }
            }
            return left
        }
        return left ?? due
    }
}
