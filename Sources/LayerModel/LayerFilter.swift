/// Which paths of a tree, or of a layer, count; the others are as if they had not changed, or did not come.
///
/// A path counts if `include` is empty or one of its patterns matches the path or a directory above it, if no pattern of
/// `exclude` does, and if `admits` lets it pass. Directories on the way to what may be included come along. What is left out
/// is left out with all below it.
///
/// A deletion counts by the path that it deletes, and an opaque directory's mark goes with the directory. So the paths that
/// count become what they would be without a filter; of the others a layer says nothing, though a deletion above one of
/// them deletes it too. What stands in the place of a directory of which only something below is included is
/// left out.
public struct LayerFilter: Sendable {
    /// The paths that count; none for all.
    public var include: [PathPattern]
    /// The paths that do not.
    public var exclude: [PathPattern]
    /// Asked of each entry that the patterns let pass, directories on the way included; false leaves it out, and all below it.
    ///
    /// A layer that is applied asks on one thread, in the layer's order. Trees and stores ask on several threads at once,
    /// and in no order; unchanged files are mostly not asked about. What is kept must depend on the entry alone.
    public var admits: (@Sendable (LayerEntry) -> Bool)?

    /// What `include` names and `exclude` does not.
    public init(
        include: [PathPattern] = [], exclude: [PathPattern] = [], admits: (@Sendable (LayerEntry) -> Bool)? = nil
    ) {
        self.include = include
        self.exclude = exclude
        self.admits = admits
    }

    /// Whether everything counts.
    package var isEmpty: Bool { include.isEmpty && exclude.isEmpty && admits == nil }

    /// Whether a pattern of `include` matches the path itself or a directory above it.
    package func names(_ path: RawSpan) -> Bool { include.contains { $0.match(path) == .full } }

    /// Whether the patterns let a path without a leading slash pass. `mayLead`: something may lie below it, since it is a
    /// directory, or the deletion of what may have been one.
    package func passes(_ path: RawSpan, mayLead: Bool) -> Bool {
        if !include.isEmpty {
            var best = PathPattern.Match.none
            for pattern in include where best != .full { best = max(best, pattern.match(path)) }
            guard best == .full || best == .above && mayLead else { return false }
        }
        for pattern in exclude where pattern.match(path) == .full { return false }
        return true
    }
}

/// What a filter's callback sees of an entry.
public struct LayerEntry: Sendable {
    /// What an entry is.
    public enum Kind: Sendable {
        /// A regular file, under any of its names.
        case file
        /// A directory.
        case directory
        /// A symbolic link.
        case symbolicLink
        /// A further name of a file, in a layer that is applied.
        case hardLink
        /// A device, a FIFO or a socket.
        case special
        /// The deletion of what lies below the layer under this path.
        case deletion
    }

    /// Its path from the root, without a leading slash.
    public var path: PathBytes
    /// What it is.
    public var kind: Kind
    /// Bytes of a file's contents, else 0.
    public var size: Int64
    /// Its permissions, those above the nine included; 0 for a deletion.
    public var mode: UInt32
    /// The owner's number, as the tree or the layer has it; 0 for a deletion.
    public var uid: UInt32
    /// The group's number.
    public var gid: UInt32

    package init(
        _ path: PathBytes, _ kind: Kind, size: Int64 = 0, mode: UInt32 = 0, uid: UInt32 = 0, gid: UInt32 = 0
    ) {
        self.path = path
        self.kind = kind
        self.size = size
        self.mode = mode
        self.uid = uid
        self.gid = gid
    }
}
