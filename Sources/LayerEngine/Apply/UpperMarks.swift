import LayerModel
import LinuxIO

/// What earlier layers, or a mount, left marked in directories of the upper that were there before: opaque ones, and
/// renamed ones, whose lower contents lie elsewhere. Read when first asked for.
final class UpperMarks {
    private let dialect: WhiteoutDialect
    private let tree: ApplyTree
    private var reader = AttributeReader()
    private var redirects: [UInt32: [UInt8]] = [:]

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
        // overlayfs looks at no mark of the root.
        while current != ApplyTree.rootNode {
            if try isOpaque(current) { return true }
            current = tree.nodes[Int(current)].parent
        }
        return false
    }

    /// Where a directory has its lower contents; nil for under its own name.
    func redirect(of node: UInt32) throws(SystemCallError) -> [UInt8]? {
        try read(node)
        return redirects[node]
    }

    private func read(_ node: UInt32) throws(SystemCallError) {
        let flags = tree.nodes[Int(node)].flags
        guard node != ApplyTree.rootNode, flags.isDisjoint(with: [.fresh, .marksAreKnown]) else { return }
        let arena = tree.arena
        let parent = try tree.handle(tree.nodes[Int(node)].parent)
        let name = tree.records[Int(tree.nodes[Int(node)].entry)].name
        let marks = try reader.marks(of: arena.pointer(name), in: parent.descriptor, dialect: dialect)
        var isOpaque = marks.opaque
        if dialect.recognises.contains(.markerFile) {
            let here = try tree.handle(node)
            if try here.descriptor.metadataIfPresent(NamePointer(WhiteoutName.opaqueMarker)) != nil { isOpaque = true }
        }
        if isOpaque { tree.nodes[Int(node)].flags.insert(.opaque) }
        if let redirect = marks.redirect { redirects[node] = redirect }
        tree.nodes[Int(node)].flags.insert(.marksAreKnown)
    }
}
