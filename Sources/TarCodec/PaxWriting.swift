enum PaxRecord {
    /// The length of a whole record, which counts its own digits too (W8).
    static func length(keyCount: Int, valueCount: Int) -> Int {
        // The blank, the '=' and the newline.
        let rest = keyCount + valueCount + 3
        let total = rest + digits(rest)
        return rest + digits(total)
    }

    private static func digits(_ value: Int) -> Int {
        var count = 1
        var rest = value / 10
        while rest > 0 {
            count += 1
            rest /= 10
        }
        return count
    }
}

/// A path built from components with `.`, `..` and repeated slashes resolved by text alone.
struct CleanPath {
    private var bytes: [UInt8]
    private let root: Int
    /// Bytes that `..` cannot take away: the root's slash, or leading `..` components.
    private var kept: Int

    /// Takes over a buffer whose memory is reused.
    init(into buffer: [UInt8], isRooted: Bool) {
        bytes = buffer
        bytes.removeAll(keepingCapacity: true)
        if isRooted { bytes.append(UInt8(ascii: "/")) }
        root = bytes.count
        kept = root
    }

    /// Adds every component of the text.
    mutating func append(_ text: Span<UInt8>) {
        let slash = UInt8(ascii: "/")
        var start = 0
        for index in 0...text.count where index == text.count || text[index] == slash {
            if index > start { add(text.extracting(start..<index)) }
            start = index + 1
        }
    }

    mutating func appendComponent(_ name: String) {
        separate()
        bytes.append(ascii: name)
    }

    /// The path; `.` when nothing is left.
    consuming func finish() -> [UInt8] {
        if bytes.isEmpty { bytes.append(UInt8(ascii: ".")) }
        return bytes
    }

    private mutating func add(_ component: Span<UInt8>) {
        if Octets.equals(component, ".") { return }
        guard Octets.equals(component, "..") else {
            separate()
            bytes.append(copying: component)
            return
        }
        if bytes.count > kept {
            while bytes.count > kept, bytes.last != UInt8(ascii: "/") { bytes.removeLast() }
            if bytes.count > kept { bytes.removeLast() }
        } else if root == 0 {
            separate()
            bytes.append(ascii: "..")
            kept = bytes.count
        }
    }

    private mutating func separate() {
        if bytes.count > root { bytes.append(UInt8(ascii: "/")) }
    }
}
