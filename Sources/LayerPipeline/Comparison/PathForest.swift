import LayerModel
import LayerRules
import LinuxIO
import Synchronization

/// The names of two trees, each path once: what lies under a path in either tree is looked up by its number.
///
/// Both trees are read at the same time, so finding a path takes a lock; names that were found stay where they are.
final class PathForest: Sendable {
    struct Node: BitwiseCopyable {
        var name: NameRef
        var parent: UInt32
    }

    private struct Table {
        /// Numbers of nodes; 0, which is the root's, is a free slot.
        var slots = [UInt32](repeating: 0, count: 1 << 10)
    }

    static let root: UInt32 = 0
    let names: NameArena
    let nodes: StableArray<Node>
    private let table = Mutex(Table())

    /// The most paths of both trees together.
    private static let limit = 1 << 27

    init() throws(LayerError) {
        names = try NameArena()
        nodes = try StableArray(limit: Self.limit)
        let root = try nodes.reserve(1)
        nodes[root] = Node(name: try names.append(RawSpan()), parent: 0)
    }

    var count: Int { nodes.count }

    /// The node of `name` in a directory; made if it is not there.
    func node(_ name: RawSpan, in parent: UInt32) throws(LayerError) -> UInt32 {
        let outcome = table.withLock { table in
            Result { () throws(LayerError) in try find(name, parent, &table) }
        }
        return try outcome.get()
    }

    private func find(_ name: RawSpan, _ parent: UInt32, _ table: inout Table) throws(LayerError) -> UInt32 {
        if nodes.count * 3 >= table.slots.count * 2 { grow(&table) }
        let mask = table.slots.count - 1
        var place = Int(keyedHash(name, in: parent)) & mask
        while table.slots[place] != 0 {
            let node = nodes[Int(table.slots[place])]
            if node.parent == parent, isName(node.name, name) { return table.slots[place] }
            place = (place + 1) & mask
        }
        let index = try nodes.reserve(1)
        nodes[index] = Node(name: try names.append(name), parent: parent)
        table.slots[place] = UInt32(index)
        return UInt32(index)
    }

    private func grow(_ table: inout Table) {
        var slots = [UInt32](repeating: 0, count: table.slots.count * 2)
        let mask = slots.count - 1
        for index in 1..<max(nodes.count, 1) {
            let node = nodes[index]
            let names = names
            var place = Int(keyedHash(names[node.name], in: node.parent)) & mask
            while slots[place] != 0 { place = (place + 1) & mask }
            slots[place] = UInt32(index)
        }
        table.slots = slots
    }

    private func isName(_ reference: NameRef, _ name: RawSpan) -> Bool {
        let names = names
        return bytesEqual(names[reference], name)
    }

    private func isBefore(_ left: UInt32, _ right: UInt32) -> Bool {
        let names = names
        return bytesCompare(names[nodes[Int(left)].name], names[nodes[Int(right)].name]) < 0
    }

    /// The last component of a node's path.
    private func name(_ node: UInt32) -> [UInt8] {
        let names = names
        return names[nodes[Int(node)].name].copied()
    }

    /// Whether a node lies in what aufs kept for itself at the top of a layer.
    func isBookkeeping(_ node: UInt32) -> Bool {
        let names = names
        var at = node
        while at != Self.root {
            let entry = nodes[Int(at)]
            if entry.parent == Self.root { return ArchiveName.isBookkeeping(names[entry.name]) }
            at = entry.parent
        }
        return false
    }

    /// The path of a node, with a slash before each name; `/` is the root's.
    func path(_ node: UInt32) -> PathBytes {
        var chain: [UInt32] = []
        var at = node
        while at != Self.root {
            chain.append(at)
            at = nodes[Int(at)].parent
        }
        var bytes: [UInt8] = []
        for part in chain.reversed() {
            bytes.append(UInt8(ascii: "/"))
            bytes += name(part)
        }
        return PathBytes(bytes.isEmpty ? [UInt8(ascii: "/")] : bytes)
    }

    /// All nodes but the root, directories before what is in them, names sorted by their bytes.
    func visit(_ body: (UInt32) throws(LayerError) -> Void) throws(LayerError) {
        let count = nodes.count
        var starts = [UInt32](repeating: 0, count: count + 1)
        for index in 1..<max(count, 1) { starts[Int(nodes[index].parent) + 1] += 1 }
        for index in 0..<count { starts[index + 1] += starts[index] }
        var filled = starts
        var children = [UInt32](repeating: 0, count: max(count - 1, 0))
        for index in 1..<max(count, 1) {
            let parent = Int(nodes[index].parent)
            children[Int(filled[parent])] = UInt32(index)
            filled[parent] += 1
        }
        filled = []
        var stack: [Range<Int>] = []
        func enter(_ node: UInt32) {
            let range = Int(starts[Int(node)])..<Int(starts[Int(node) + 1])
            guard !range.isEmpty else { return }
            if range.count > 1 {
                children[range].sort { isBefore($0, $1) }
            }
            stack.append(range)
        }
        enter(Self.root)
        while let range = stack.popLast() {
            let node = children[range.lowerBound]
            if range.count > 1 { stack.append(range.lowerBound + 1..<range.upperBound) }
            try body(node)
            enter(node)
        }
    }
}
