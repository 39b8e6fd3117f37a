import LayerModel
import LayerRules

/// Finding directories beneath the root.
extension PackJob: PathTree {
    static var operation: String { "pack" }
    var isLenient: Bool { options.lenientNames }

    func parent(of node: UInt32) -> UInt32 { tree.directories[node].parent }

    func path(of name: RawSpan, in node: UInt32) -> PathBytes {
        tree.existingName(name, in: node).map { tree.path($0) } ?? PathBytes(name.copied())
    }

    mutating func step(into name: RawSpan, in node: UInt32, _ create: Creation) throws(LayerError) -> PathStep {
        let name = try place(of: name, in: node)
        let known = tree.names[name]
        switch known.kind {
        case .directory: return .directory(tree.inodes[known.inode].content)
        case .symbolicLink:
            tree.mark(name, .followed)
            let link = tree.inodes[known.inode]
            return .link(tree.arena.span(link.content, Int(link.size)).copied())
        case .unknown:
            // A name that waits for its hard link is no directory.
            if known.flags.contains(.deferred) { return .other }
            let isHidden = known.flags.contains(.whiteout)
            guard create == .any || create == .unlessDeleted && !isHidden else { return .missing }
            return .directory(makeImpliedDirectory(name))
        default: return .other
        }
    }

    /// Makes a directory that the archive names only as part of a path: 0755, root's.
    private mutating func makeImpliedDirectory(_ name: UInt32) -> UInt32 {
        let hides = clear(name)
        var inode = PackInode()
        inode.mode = UInt16(EntryKind.directory.modeBits | 0o755)
        let node = tree.makeDirectory(inode, at: name, .implied)
        if hides { markOpaque(node) }
        return node
    }
}
