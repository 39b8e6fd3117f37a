import LayerModel
import LinuxIO

/// What earlier layers, or a mount, left marked in directories of the upper that were there before: opaque ones, and
/// renamed ones, whose lower contents lie elsewhere. Read when first asked for.
final class UpperMarks {
    private let dialect: WhiteoutDialect
    private let tree: ApplyTree
    private var reader = AttributeReader()
    private var redirects: [UInt32: OverlayRedirect] = [:]
    private var refusals: [UInt32: OverlayMarks.Refusal] = [:]

    init(_ dialect: WhiteoutDialect, _ tree: ApplyTree) {
        self.dialect = dialect
        self.tree = tree
    }

    /// Whether nothing of the lower directories shows through a directory by its own mark.
    func isOpaque(_ node: UInt32) throws(SystemCallError) -> Bool {
        try read(node)
        return tree.nodes[Int(node)].flags.contains(.opaque)
    }

    /// Whether nothing of the lower directories shows in a directory, by its own mark or by one above.
    func isBelowOpaque(_ node: UInt32) throws(SystemCallError) -> Bool {
        var current = node
        while current != ApplyTree.rootNode {
            if try isOpaque(current) { return true }
            current = tree.nodes[Int(current)].parent
        }
        // overlayfs looks at no mark of the root; a marker file there is one as everywhere.
        guard dialect.recognises.contains(.markerFile) else { return false }
        return try isOpaque(current)
    }

    /// Where a directory has its lower contents; nil for under its own name. `isOverNothing`: its parent shows nothing of
    /// the lower directories.
    ///
    /// Throws what the kernel's lookup would fail with.
    func redirect(of node: UInt32, isOverNothing: Bool) throws(SystemCallError) -> OverlayRedirect? {
        try read(node)
        if let refusal = refusals[node], refusal == .invalid || !isOverNothing {
            throw SystemCallError("overlay.redirect", errno: refusal.errno)
        }
        return redirects[node]
    }

    private func read(_ node: UInt32) throws(SystemCallError) {
        let flags = tree.nodes[Int(node)].flags
        guard flags.isDisjoint(with: [.fresh, .marksAreKnown]) else { return }
        if node == ApplyTree.rootNode { return try readRoot() }
        let arena = tree.arena
        let parent = try tree.handle(tree.nodes[Int(node)].parent)
        let name = tree.records[Int(tree.nodes[Int(node)].entry)].name
        let marks = try reader.marks(of: arena.pointer(name), in: parent.descriptor, dialect: dialect)
        var isOpaque = marks.opaque
        if dialect.recognises.contains(.markerFile) {
            let here = try tree.handle(node)
            if try here.descriptor.metadataIfPresent(NamePointer(WhiteoutName.opaqueMarker)) != nil { isOpaque = true }
        }
        if isOpaque {
            tree.nodes[Int(node)].flags.insert(.opaque)
        } else {
            refusals[node] = marks.refusal(isDirectory: true)
        }
        if let redirect = marks.redirect { redirects[node] = redirect }
        tree.nodes[Int(node)].flags.insert(.marksAreKnown)
    }

    private func readRoot() throws(SystemCallError) {
        let root = ApplyTree.rootNode
        if dialect.recognises.contains(.markerFile) {
            let here = try tree.handle(root)
            if try here.descriptor.metadataIfPresent(NamePointer(WhiteoutName.opaqueMarker)) != nil {
                tree.nodes[Int(root)].flags.insert(.opaque)
            }
        }
        tree.nodes[Int(root)].flags.insert(.marksAreKnown)
    }
}
