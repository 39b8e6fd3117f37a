import LayerModel
import LinuxIO

/// The directories of a tree that are kept open: the root always, of the others those that were used lately.
struct OpenDirectories {
    private let root: SharedDescriptor
    private var handles: [SharedDescriptor?]
    private var nodeOf: [UInt32]
    private var recentlyUsed: [Bool]
    private var hand = 0
    private var chain: [UInt32] = []
    private(set) var opens: UInt64 = 0

    /// Keeps the root, whose descriptor is duplicated, and at most `limit` others.
    init(root: borrowing OwnedDescriptor, limit: Int) throws(LayerError) {
        self.root = try attempt { () throws(SystemCallError) in SharedDescriptor(try root.duplicate()) }
        handles = [SharedDescriptor?](repeating: nil, count: limit)
        nodeOf = [UInt32](repeating: 0, count: limit)
        recentlyUsed = [Bool](repeating: false, count: limit)
    }

    /// The node's open directory.
    mutating func handle(_ node: UInt32, of tree: ApplyTree) throws(SystemCallError) -> SharedDescriptor {
        if node == ApplyTree.rootNode { return root }
        let slot = tree.nodes[Int(node)].slot
        if slot >= 0, let handle = handles[Int(slot)] {
            recentlyUsed[Int(slot)] = true
            return handle
        }
        return try reopen(node, of: tree)
    }

    /// Opens a directory from its nearest open ancestor, one component at a time.
    private mutating func reopen(_ node: UInt32, of tree: ApplyTree) throws(SystemCallError) -> SharedDescriptor {
        chain.removeAll(keepingCapacity: true)
        var current = node
        while current != ApplyTree.rootNode, tree.nodes[Int(current)].slot < 0 {
            chain.append(current)
            current = tree.nodes[Int(current)].parent
        }
        var handle =
            current == ApplyTree.rootNode ? root : handles[Int(tree.nodes[Int(current)].slot)] ?? root
        while let next = chain.popLast() {
            opens += 1
            handle = SharedDescriptor(try open(tree.place(ofDirectory: next).name, in: handle, of: tree))
            keep(handle, for: next, of: tree)
        }
        return handle
    }

    /// Opens a directory. Where the process has no descriptor left, those kept open are given up, and those are waited for
    /// that the writers hold.
    private mutating func open(_ name: NameRef, in handle: SharedDescriptor, of tree: ApplyTree)
        throws(SystemCallError) -> OwnedDescriptor
    {
        let arena = tree.arena
        var patience = DescriptorPatience()
        while true {
            do throws(SystemCallError) {
                return try handle.descriptor.open(arena.pointer(name), [.pathOnly, .directory, .noFollow])
            } catch {
                guard error.isOutOfDescriptors else { throw error }
                closeAll(of: tree)
                guard patience.wait() else { throw error }
            }
        }
    }

    /// Keeps a handle open, in place of one not used lately.
    private mutating func keep(_ handle: SharedDescriptor, for node: UInt32, of tree: ApplyTree) {
        while recentlyUsed[hand] {
            recentlyUsed[hand] = false
            hand = (hand + 1) % handles.count
        }
        if handles[hand] != nil { tree.nodes[Int(nodeOf[hand])].slot = -1 }
        handles[hand] = handle
        nodeOf[hand] = node
        recentlyUsed[hand] = true
        tree.nodes[Int(node)].slot = Int32(hand)
        hand = (hand + 1) % handles.count
    }

    /// Closes all of them but the root.
    mutating func closeAll(of tree: ApplyTree) {
        for slot in handles.indices where handles[slot] != nil { drop(nodeOf[slot], of: tree) }
    }

    /// Closes a directory, unless somebody else has it.
    mutating func drop(_ node: UInt32, of tree: ApplyTree) {
        let slot = tree.nodes[Int(node)].slot
        guard slot >= 0 else { return }
        handles[Int(slot)] = nil
        recentlyUsed[Int(slot)] = false
        tree.nodes[Int(node)].slot = -1
    }
}
