import LayerModel

/// The entries of a directory in the order of the image: `.` and `..` have their places among the names.
struct DirectoryOrder {
    enum Entry {
        case itself
        case parent
        case name(UInt32)
    }

    /// The next name, 0 at the end.
    private var name: UInt32
    /// How many of the two have been given.
    private var dots = 0

    init(_ node: UInt32, _ tree: borrowing PackTree) { name = tree.directories[node].firstChild }

    mutating func next(_ tree: borrowing PackTree) -> Entry? {
        if dots < 2, name == 0 || Self.isBefore(dots, tree.text(name)) {
            dots += 1
            return dots == 1 ? .itself : .parent
        }
        guard name != 0 else { return nil }
        defer { name = tree.names[name].next }
        return .name(name)
    }

    /// Whether `.` (0) or `..` (1) stands before a name.
    private static func isBefore(_ dots: Int, _ name: RawSpan) -> Bool {
        let dot = UInt8(ascii: ".")
        if name[0] != dot { return name[0] > dot }
        return dots == 0 || name.byteCount > 1 && name[1] >= dot
    }
}
