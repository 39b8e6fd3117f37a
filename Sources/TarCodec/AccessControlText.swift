/// Turns the access control lists that GNU tar, bsdtar and star write as text into the form in which the kernel
/// takes them as an attribute (R10): LE32 version 2, then LE16 tag, LE16 permissions, LE32 id for each entry.
///
/// Entries are separated by commas or newlines and read `user:1000:rwx`, or `user:name:rwx:1000` with the number
/// behind. A list that names somebody without a number is refused as a whole: names of another system mean nothing
/// here, and leaving one entry out could give its user more than the list does.
struct AccessControlText {
    private struct Entry {
        var tag: UInt16
        var permissions: UInt16
        var id: UInt32
    }

    private typealias Tag = AccessLimit.Tag

    /// What an attribute may hold on any file system, 64 KiB, in entries of 8 bytes.
    private static let limit = 8000
    private static let noID: UInt32 = 0xffff_ffff

    private var entries: [Entry] = []

    /// The attribute's value for a text, or nil where the text is no sound list of numbered users and groups.
    static func attribute(_ text: Span<UInt8>) -> [UInt8]? {
        var list = AccessControlText()
        var start = 0
        while start < text.count {
            var end = start
            while end < text.count, text[end] != UInt8(ascii: ","), text[end] != UInt8(ascii: "\n") { end += 1 }
            guard list.take(text.extracting(start..<end)) else { return nil }
            start = end + 1
        }
        return list.value
    }

    /// The permissions of the mask in an attribute's value, or nil where it has none.
    static func mask(of value: [UInt8]) -> UInt32? {
        for start in stride(from: 4, to: value.count, by: 8) where value[start] == Tag.mask {
            return UInt32(value[start + 2])
        }
        return nil
    }

    /// What a text that is no sound list leaves of the mode, as far as it can be understood.
    static func limit(_ text: Span<UInt8>) -> AccessLimit {
        var limit = AccessLimit()
        var start = 0
        while start < text.count {
            var end = start
            while end < text.count, text[end] != UInt8(ascii: ","), text[end] != UInt8(ascii: "\n") { end += 1 }
            take(text.extracting(start..<end), into: &limit)
            start = end + 1
        }
        return limit
    }

    /// Takes a line whose name may have no number. Permissions that cannot be read give nothing.
    private static func take(_ line: Span<UInt8>, into limit: inout AccessLimit) {
        let fields = Self.fields(of: line)
        if fields.count == 1, fields[0].isEmpty { return }
        guard fields.count >= 2, let named = Self.tag(line.extracting(fields[0])) else { return limit.takeUnknown() }
        let isShort = fields.count == 2 && named.plain & (Tag.mask | Tag.other) != 0
        let place = isShort ? 1 : 2
        let bits = place < fields.count ? UInt32(permissions(line.extracting(fields[place])) ?? 0) : 0
        guard !isShort, !fields[1].isEmpty, named.plain != Tag.mask else { return limit.take(named.plain, bits) }
        // Others have no name: nobody knows whose entry it is.
        if let tag = named.withName { limit.take(tag, bits) } else { limit.takeUnknown() }
    }

    /// The parts of a line that colons divide, without blanks and comments.
    private static func fields(of line: Span<UInt8>) -> [Range<Int>] {
        let comment = Octets.firstIndex(of: UInt8(ascii: "#"), in: line, line.indices) ?? line.count
        var fields: [Range<Int>] = []
        var start = 0
        for index in 0...comment where index == comment || line[index] == UInt8(ascii: ":") {
            fields.append(trimmed(line, start..<index))
            start = index + 1
        }
        return fields
    }

    /// Takes one entry; blank ones and comments say nothing.
    private mutating func take(_ line: Span<UInt8>) -> Bool {
        var fields = Self.fields(of: line)
        if fields.count == 1, fields[0].isEmpty { return true }
        guard fields.count >= 2, let named = Self.tag(line.extracting(fields[0])), entries.count < Self.limit
        else { return false }
        // `mask:rwx` and `other:r--` may leave out the empty name.
        if fields.count == 2, named.plain & (Tag.mask | Tag.other) != 0 {
            fields.insert(fields[1].lowerBound..<fields[1].lowerBound, at: 1)
        }
        guard 3...4 ~= fields.count, let permissions = Self.permissions(line.extracting(fields[2])) else {
            return false
        }
        var entry = Entry(tag: named.plain, permissions: permissions, id: Self.noID)
        if !fields[1].isEmpty {
            let number = fields.count == 4 ? fields[3] : fields[1]
            guard let tag = named.withName, let id = Self.id(line.extracting(number)) else { return false }
            entry.tag = tag
            entry.id = id
        }
        entries.append(entry)
        return true
    }

    private static func trimmed(_ line: Span<UInt8>, _ range: Range<Int>) -> Range<Int> {
        var (start, end) = (range.lowerBound, range.upperBound)
        func isBlank(_ index: Int) -> Bool { line[index] == UInt8(ascii: " ") || line[index] == UInt8(ascii: "\t") }
        while start < end, isBlank(start) { start += 1 }
        while end > start, isBlank(end - 1) { end -= 1 }
        return start..<end
    }

    /// The tag without a name, and the one with where there is one.
    private static func tag(_ word: Span<UInt8>) -> (plain: UInt16, withName: UInt16?)? {
        if Octets.equals(word, "user") || Octets.equals(word, "u") { return (Tag.owner, Tag.user) }
        if Octets.equals(word, "group") || Octets.equals(word, "g") { return (Tag.owningGroup, Tag.group) }
        if Octets.equals(word, "mask") || Octets.equals(word, "m") { return (Tag.mask, nil) }
        if Octets.equals(word, "other") || Octets.equals(word, "o") { return (Tag.other, nil) }
        return nil
    }

    private static func permissions(_ text: Span<UInt8>) -> UInt16? {
        guard 1...3 ~= text.count else { return nil }
        var bits: UInt16 = 0
        for index in text.indices {
            switch text[index] {
            case UInt8(ascii: "r"): bits |= 4
            case UInt8(ascii: "w"): bits |= 2
            case UInt8(ascii: "x"): bits |= 1
            case UInt8(ascii: "-"): break
            default: return nil
            }
        }
        return bits
    }

    private static func id(_ text: Span<UInt8>) -> UInt32? {
        // decimal() takes a sign, an id has none.
        guard text.count > 0, PaxReader.digit(text[0]) != nil, let number = PaxReader.decimal(text),
            number < Int64(noID)
        else { return nil }
        return UInt32(number)
    }

    /// The list in the kernel's order, or nil where the kernel would refuse it.
    private var value: [UInt8]? {
        func count(_ tag: UInt16) -> Int { entries.count { $0.tag == tag } }
        let named = count(Tag.user) + count(Tag.group)
        guard count(Tag.owner) == 1, count(Tag.owningGroup) == 1, count(Tag.other) == 1, count(Tag.mask) <= 1,
            named == 0 || count(Tag.mask) == 1
        else { return nil }
        var bytes: [UInt8] = [2, 0, 0, 0]
        bytes.reserveCapacity(4 + 8 * entries.count)
        for entry in entries.sorted(by: { ($0.tag, $0.id) < ($1.tag, $1.id) }) {
            for number in [entry.tag, entry.permissions] {
                bytes.append(UInt8(truncatingIfNeeded: number))
                bytes.append(UInt8(truncatingIfNeeded: number >> 8))
            }
            for shift: UInt32 in [0, 8, 16, 24] { bytes.append(UInt8(truncatingIfNeeded: entry.id >> shift)) }
        }
        return bytes
    }
}
