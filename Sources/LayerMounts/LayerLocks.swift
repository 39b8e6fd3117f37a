internal import LinuxIO

/// One lock for each layer id, made when it is asked for and gone when nobody holds it.
///
/// An operation that needs two ids takes both at once, so two operations never wait for each other. Not recursive, and never
/// to be held while a stream goes to a consumer.
public final class LayerLocks<Key: Hashable & Sendable>: Sendable {
    /// How often each id is held: -1 by one alone, or by that many together.
    private let held = Monitor<[Key: Int]>([:])

    public init() {}

    /// Runs `body` while nobody else holds `id`, nor `parent` alone, which others may share. The same id twice, which no
    /// layer can have, is one lock: `body` finds the mistake.
    public func withLock<Result: ~Copyable, Failure: Error>(
        _ id: Key, sharing parent: Key? = nil, _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let parent = parent == id ? nil : parent
        held.wait { held -> Void? in
            guard held[id] == nil else { return nil }
            if let parent {
                guard held[parent, default: 0] >= 0 else { return nil }
                held[parent, default: 0] += 1
            }
            held[id] = -1
            return ()
        }
        defer { release(id, parent) }
        return try body()
    }

    /// Runs `body` while nobody holds `id` alone.
    public func withSharedLock<Result: ~Copyable, Failure: Error>(
        _ id: Key, _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        held.wait { held -> Void? in
            guard held[id, default: 0] >= 0 else { return nil }
            held[id, default: 0] += 1
            return ()
        }
        defer { release(nil, id) }
        return try body()
    }

    private func release(_ alone: Key?, _ shared: Key?) {
        held.change { held in
            if let alone { held[alone] = nil }
            if let shared {
                let left = held[shared, default: 1] - 1
                held[shared] = left == 0 ? nil : left
            }
        }
    }
}
