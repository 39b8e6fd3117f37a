/// Extended attributes of one entry, names and values in one reused buffer.
struct AttributeList {
    private struct Item {
        var name: Range<Int>
        var value: Range<Int>
        /// Of equal names the item with the higher rank counts, then the later one.
        var rank: Int
        var order: Int
    }

    private var bytes: [UInt8] = []
    private var items: [Item] = []

    var count: Int { items.count }
    var isEmpty: Bool { items.isEmpty }

    mutating func removeAll() {
        guard !bytes.isEmpty || !items.isEmpty else { return }
        bytes.removeAll(keepingCapacity: true)
        items.removeAll(keepingCapacity: true)
    }

    mutating func append(name: [UInt8], value: [UInt8]) { append(name: name.span, value: value.span) }

    mutating func append(name: Span<UInt8>, value: Span<UInt8>, rank: Int = 0) {
        let start = bytes.count
        bytes.append(copying: name)
        bytes.append(copying: value)
        let middle = start + name.count
        items.append(Item(name: start..<middle, value: middle..<bytes.count, rank: rank, order: items.count))
    }

    @_lifetime(borrow self)
    func name(_ index: Int) -> Span<UInt8> { bytes.span.extracting(items[index].name) }

    @_lifetime(borrow self)
    func value(_ index: Int) -> Span<UInt8> { bytes.span.extracting(items[index].value) }

    /// Sorts by name, bytewise, and keeps one item per name.
    mutating func sortAndMerge() {
        guard items.count > 1 else { return }
        var list: [Item] = []
        swap(&list, &items)
        Self.sortAndMerge(&list, names: bytes.span)
        items = list
    }

    private static func sortAndMerge(_ list: inout [Item], names: Span<UInt8>) {
        func compare(_ left: Item, _ right: Item) -> Int {
            Octets.compare(names.extracting(left.name), names.extracting(right.name))
        }
        list.sort { left, right in
            let order = compare(left, right)
            return order != 0 ? order < 0 : (left.rank, left.order) < (right.rank, right.order)
        }
        var kept = 0
        for index in list.indices {
            if index + 1 < list.count, compare(list[index], list[index + 1]) == 0 { continue }
            list[kept] = list[index]
            kept += 1
        }
        list.removeLast(list.count - kept)
    }
}
