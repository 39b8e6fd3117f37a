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

    func rank(_ index: Int) -> Int { items[index].rank }

    @_lifetime(borrow self)
    func value(_ index: Int) -> Span<UInt8> { bytes.span.extracting(items[index].value) }

    /// Bytes of the PAX records that all of them come to.
    var recordByteCount: Int {
        items.reduce(0) { $0 + Self.recordByteCount($1) }
    }

    private static func recordByteCount(_ item: Item) -> Int {
        PaxRecord.length(keyCount: 13 + item.name.count, valueCount: item.value.count)
    }

    /// Takes out the largest, of equal ones the first by name; returns its name, or nil where there is none.
    mutating func removeLargest() -> [UInt8]? {
        var largest: Int?
        for index in items.indices {
            guard let best = largest else {
                largest = index
                continue
            }
            let (one, two) = (Self.recordByteCount(items[index]), Self.recordByteCount(items[best]))
            if one > two || one == two && bytes[items[index].name].lexicographicallyPrecedes(bytes[items[best].name]) {
                largest = index
            }
        }
        guard let largest else { return nil }
        return Array(bytes[items.remove(at: largest).name])
    }

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
