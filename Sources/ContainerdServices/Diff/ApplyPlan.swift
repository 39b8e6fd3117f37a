import LayerEngine
import LayerModel
import LinuxIO

/// Where a layer is unpacked.
struct ApplyPlan: Sendable {
    /// What the client's mounts come to.
    enum Place: Sendable, Equatable {
        /// An upper directory: deletions are written as markers. Nothing is mounted.
        case upper(PathBytes, WhiteoutDialect, lowers: [PathBytes]?)
        /// A whole tree: deletions are carried out. Nothing is mounted.
        case tree(PathBytes)
        /// A tree that has to be mounted first, in a mount namespace of its own.
        case mounted([MountSpec])
    }

    var place: Place
    /// Whether layers lie below, or come later.
    var isUpper: Bool { if case .upper = place { true } else { false } }
    var uidMap = IDMap.identity
    var gidMap = IDMap.identity
    /// The snapshot of ours that the mounts show.
    var snapshot: OwnSnapshot?

    /// Throws `invalidArgument` for mounts that cannot be written to, or whose paths make no sense.
    init(_ mounts: [MountSpec], snapshots: (any SnapshotLookup)?) throws(LayerError) {
        snapshot = snapshots?.snapshot(for: mounts)
        if let snapshot, !snapshot.isWritable { throw Self.isReadOnly(mounts) }
        switch try MountShape(mounts) {
        case .nothing:
            throw LayerError(.invalidArgument, "unpack the layer", cause: .reason("there are no mounts to unpack into"))
        case .directory(let path, let isReadOnly):
            if isReadOnly { throw Self.isReadOnly(mounts) }
            place = .tree(path)
        case .overlay(let shape):
            guard let upper = shape.upper, !shape.isReadOnly else { throw Self.isReadOnly(mounts) }
            place = .upper(upper, shape.dialect, lowers: try Self.knownLowers(shape.lowers))
            uidMap = shape.uidMap
            gidMap = shape.gidMap
        case .unknown:
            place = .mounted(mounts)
        }
    }

    /// Nil where nothing lies below: layers that are unpacked at the same time get their parents later (`rebase`), and
    /// until then an empty directory stands for them. Their deletions must not be lost.
    private static func knownLowers(_ lowers: [PathBytes]) throws(LayerError) -> [PathBytes]? {
        for lower in lowers {
            let isEmpty = try attempt("open the lower directory", lower) { () throws(SystemCallError) in
                try TreeRemoval.isEmpty(lower.open([.readOnly, .directory]))
            }
            if !isEmpty { return lowers }
        }
        return nil
    }

    private static func isReadOnly(_ mounts: [MountSpec]) -> LayerError {
        LayerError(
            .invalidArgument, "unpack the layer", path: mounts.first.map { PathBytes($0.source) },
            cause: .reason("the mounts are read-only"))
    }
}
