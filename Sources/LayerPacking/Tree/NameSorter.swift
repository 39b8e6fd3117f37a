import LayerModel

/// Puts a directory's names into the order of their bytes, and drops those under which nothing lies.
struct NameSorter {
    private struct Key {
        /// The first eight bytes, the first one highest, filled up with zeros.
        var start: UInt64
        var name: UInt32
    }
    private var keys: [Key] = []

    /// Sorts the chain of a directory's names.
    mutating func sort(_ node: UInt32, _ tree: inout PackTree) {
        keys.removeAll(keepingCapacity: true)
        var next = tree.directories[node].firstChild
        var isSorted = true
        while next != 0 {
            let name = tree.names[next]
            if name.inode != 0 {
                let key = Key(start: Self.start(tree.text(next)), name: next)
                // Names are chained backwards, so that sorted archives give a falling order.
                if isSorted, let last = keys.last, !Self.precedes(key, last, tree) { isSorted = false }
                keys.append(key)
            }
            next = name.next
        }
        if isSorted {
            keys.reverse()
        } else {
            Self.sort(&keys, tree)
        }
        tree.directories[node].firstChild = keys.first?.name ?? 0
        for index in keys.indices {
            tree.names[keys[index].name].next = index + 1 < keys.count ? keys[index + 1].name : 0
        }
    }

    /// Merge sort: linearithmic whatever the order, and the tree can be borrowed meanwhile.
    private static func sort(_ keys: inout [Key], _ tree: borrowing PackTree) {
        var other = keys
        var width = 1
        while width < keys.count {
            var start = 0
            while start < keys.count {
                let middle = min(start + width, keys.count)
                let end = min(start + 2 * width, keys.count)
                var (left, right) = (start, middle)
                for at in start..<end {
                    let takesRight = left == middle || right < end && precedes(keys[right], keys[left], tree)
                    other[at] = takesRight ? keys[right] : keys[left]
                    if takesRight { right += 1 } else { left += 1 }
                }
                start = end
            }
            swap(&keys, &other)
            width *= 2
        }
    }

    private static func precedes(_ left: Key, _ right: Key, _ tree: borrowing PackTree) -> Bool {
        if left.start != right.start { return left.start < right.start }
        return bytesCompare(tree.text(left.name), tree.text(right.name)) < 0
    }

    private static func start(_ name: RawSpan) -> UInt64 {
        var start: UInt64 = 0
        for index in 0..<8 { start = start << 8 | (index < name.byteCount ? UInt64(name[index]) : 0) }
        return start
    }
}
