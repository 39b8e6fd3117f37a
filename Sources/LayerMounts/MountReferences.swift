public import LayerModel
internal import LinuxIO

/// Counts who uses which mount, so that the first mounts and the last unmounts.
///
/// A mount that is there before anybody asked was left by an earlier run and counts as one reference that is never given
/// back by us. Every operation looks again, so a mount that somebody else took away is noticed.
///
/// Calls for one path must not run at once (`LayerLocks` sees to it); calls for different paths may.
public final class MountReferences: Sendable {
    /// Says what lies at a path.
    public enum Checker: Sendable {
        /// A mount of the file system with this magic number.
        case fileSystem(magic: UInt32)
        /// Any mount.
        case mountPoint
        case custom(@Sendable (PathBytes) throws(LayerError) -> MountState)

        func state(of path: PathBytes) throws(LayerError) -> MountState {
            switch self {
            case .fileSystem(let magic): try MountTable.state(of: path, magic: magic)
            case .mountPoint: try MountTable.state(of: path)
            case .custom(let look): try look(path)
            }
        }
    }

    /// What the one who asked for a mount has to do.
    public enum Acquired: Sendable, Equatable {
        /// Nothing: it is mounted.
        case isMounted
        /// Mount; and call `forget` if that fails.
        case mustMount
        /// Unmount lazily what is left of a dead mount, then mount.
        case mustReplace
    }

    /// What the one who gives a mount back has to do.
    public enum Released: Sendable, Equatable {
        /// Nothing: others use it, or it is not ours.
        case keep
        case mustUnmount
    }

    private let checker: Checker
    /// A monitor and not a Mutex, whose slow path is in a library that the thread sanitizer cannot see into.
    private let counts = Monitor<[PathBytes: Int]>([:])

    public init(_ checker: Checker) { self.checker = checker }

    /// Adds a reference to the mount at `path`.
    public func acquire(_ path: PathBytes) throws(LayerError) -> Acquired {
        let state = try checker.state(of: path)
        return counts.change { counts in
            guard state == .mounted else {
                counts[path] = 1
                return state == .stale ? .mustReplace : .mustMount
            }
            // Not one of ours: somebody else's reference is counted too, so we never unmount it under them.
            counts[path] = max(counts[path] ?? 0, 0) + ((counts[path] ?? 0) > 0 ? 1 : 2)
            return .isMounted
        }
    }

    /// Takes a reference away. One more than was added changes nothing, except that the first word about a mount left by an
    /// earlier run unmounts it.
    ///
    /// Throws where nobody can tell what is mounted, unless it was counted: such a reference is given back all the same,
    /// or the mount would stay for ever.
    public func release(_ path: PathBytes) throws(LayerError) -> Released {
        let state: MountState
        do throws(LayerError) {
            state = try checker.state(of: path)
        } catch {
            guard count(path) > 0 else { throw error }
            state = .mounted
        }
        return counts.change { counts in
            guard state != .notMounted else {
                counts[path] = 0
                return .keep
            }
            let count = counts[path] ?? 1
            guard count > 0 else { return .keep }
            counts[path] = count - 1
            return count == 1 ? .mustUnmount : .keep
        }
    }

    /// Drops what is known of `path`: after a failed mount, and when the layer is removed.
    public func forget(_ path: PathBytes) {
        counts.change { counts in counts[path] = nil }
    }

    /// References counted at `path`, as far as known.
    public func count(_ path: PathBytes) -> Int { counts.change { $0[path] ?? 0 } }

    /// Paths with references.
    public var inUse: [PathBytes] {
        counts.change { counts in counts.filter { $0.value > 0 }.map(\.key) }
    }
}
