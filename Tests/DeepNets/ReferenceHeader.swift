/// One entry's header, as the archive's reader gets it.
struct HeaderFields {
    var name: Name = []
    var linkName: Name = []
    var type = UInt8(ascii: "0")
    var mode: Int64 = 0
    var uid: Int64 = 0
    var gid: Int64 = 0
    var size: Int64 = 0
    var mtime: Int64 = 0
    var major: Int64 = 0
    var minor: Int64 = 0
    var userName: Name = []
    var groupName: Name = []
    var attributes: [(name: Name, value: Name)] = []
}

/// Writes headers by the rules of Go's archive/tar, which Docker's and containerd's layers follow. Plain and slow on purpose, and
/// nothing of ldiff's own is in it: two writers that agree were hardly wrong in the same way.
enum ReferenceHeader {
    private static let largestID: Int64 = 0o7777777
    private static let largestNumber: Int64 = 0o77777777777

    /// The blocks of a header, with a PAX header in front where it needs one.
    static func blocks(_ fields: HeaderFields) -> Name {
        let records = records(fields)
        let split = splitPoint(fields.name)
        let isOnlyLong = records.keys.allSatisfy { $0 == "path".name } && split != nil && isPlain(fields.name)
        if records.isEmpty || isOnlyLong { return ustar(fields, split: fields.name.count > 100 ? split : nil) }
        return pax(fields, records)
    }

    private static func isPlain(_ text: Name) -> Bool { text.allSatisfy { $0 < 0x80 && $0 != 0 } }

    /// Where a name that is too long for its field may be cut: the slash between prefix and rest.
    private static func splitPoint(_ name: Name) -> Int? {
        guard name.count > 100, isPlain(name) else { return nil }
        var length = name.count
        if length > 156 { length = 156 } else if name.last == UInt8(ascii: "/") { length -= 1 }
        guard let cut = name[..<length].lastIndex(of: UInt8(ascii: "/")), cut > 0, cut <= 155 else { return nil }
        return (1...100).contains(name.count - cut - 1) ? cut : nil
    }

    private static func records(_ fields: HeaderFields) -> [Name: Name] {
        var found: [Name: Name] = [:]
        if fields.name.count > 100 || !isPlain(fields.name) { found["path".name] = fields.name }
        if fields.linkName.count > 100 || !isPlain(fields.linkName) { found["linkpath".name] = fields.linkName }
        if fields.userName.count > 32 || !isPlain(fields.userName) { found["uname".name] = fields.userName }
        if fields.groupName.count > 32 || !isPlain(fields.groupName) { found["gname".name] = fields.groupName }
        if fields.uid > largestID || fields.uid < 0 { found["uid".name] = "\(fields.uid)".name }
        if fields.gid > largestID || fields.gid < 0 { found["gid".name] = "\(fields.gid)".name }
        if fields.size > largestNumber { found["size".name] = "\(fields.size)".name }
        if fields.mtime > largestNumber || fields.mtime < 0 { found["mtime".name] = "\(fields.mtime)".name }
        for attribute in fields.attributes { found["SCHILY.xattr.".name + attribute.name] = attribute.value }
        return found
    }

    private static func pax(_ fields: HeaderFields, _ records: [Name: Name]) -> Name {
        var payload: Name = []
        for (key, value) in records.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            let rest = key.count + value.count + 3
            var length = rest
            while "\(length)".utf8.count + rest != length { length = "\(length)".utf8.count + rest }
            payload += "\(length) ".name + key + "=".name + value + "\n".name
        }
        var block = Block()
        block.text(paxName(fields.name), at: 0, width: 100)
        block.number(0, at: 100, width: 8)
        block.number(0, at: 108, width: 8)
        block.number(0, at: 116, width: 8)
        block.number(Int64(payload.count), at: 124, width: 12)
        block.number(0, at: 136, width: 12)
        block.bytes[156] = UInt8(ascii: "x")
        block.finish()
        var main = fields
        main.name = cut(fields.name, 100)
        main.linkName = cut(fields.linkName, 100)
        main.userName = cut(fields.userName, 32)
        main.groupName = cut(fields.groupName, 32)
        if !(0...largestID).contains(main.uid) { main.uid = 0 }
        if !(0...largestID).contains(main.gid) { main.gid = 0 }
        if main.size > largestNumber { main.size = 0 }
        if !(0...largestNumber).contains(main.mtime) { main.mtime = 0 }
        return block.bytes + padded(payload) + ustar(main, split: nil)
    }

    /// The text of a field beside a record that says it all: plain bytes only, and no slash that cutting left at its end.
    private static func cut(_ text: Name, _ width: Int) -> Name {
        var plain = text.filter { $0 < 0x80 }
        guard plain.count > width else { return plain }
        plain = Name(plain.prefix(width))
        while plain.last == UInt8(ascii: "/") { plain.removeLast() }
        return plain
    }

    /// `dir/PaxHeaders.0/name`, cleaned as Go's `path.Clean` does.
    private static func paxName(_ name: Name) -> Name {
        let slash = UInt8(ascii: "/")
        let start = (name.lastIndex(of: slash) ?? -1) + 1
        let whole = name[..<start] + "PaxHeaders.0/".name + name[start...]
        var parts: [Name] = []
        for part in whole.split(separator: slash) where part != [46] {
            if part == [46, 46], let last = parts.last, last != [46, 46] {
                parts.removeLast()
            } else {
                parts.append(Name(part))
            }
        }
        var plain = Name(Name(parts.joined(separator: [slash])).filter { $0 < 0x80 }.prefix(100))
        while plain.last == slash { plain.removeLast() }
        return plain
    }

    private static func ustar(_ fields: HeaderFields, split: Int?) -> Name {
        var block = Block()
        let start = split.map { $0 + 1 } ?? 0
        block.text(Name(fields.name[start...]), at: 0, width: 100)
        block.number(fields.mode, at: 100, width: 8)
        block.number(fields.uid, at: 108, width: 8)
        block.number(fields.gid, at: 116, width: 8)
        block.number(fields.size, at: 124, width: 12)
        block.number(fields.mtime, at: 136, width: 12)
        block.bytes[156] = fields.type
        block.text(fields.linkName, at: 157, width: 100)
        block.text(fields.userName, at: 265, width: 32)
        block.text(fields.groupName, at: 297, width: 32)
        block.number(fields.major, at: 329, width: 8)
        block.number(fields.minor, at: 337, width: 8)
        if let split { block.text(Name(fields.name[..<split]), at: 345, width: 155) }
        block.finish()
        return block.bytes
    }

    static func padded(_ bytes: Name) -> Name { bytes + Name(repeating: 0, count: -bytes.count & 511) }
}

/// A block of 512 bytes.
private struct Block {
    var bytes = Name(repeating: 0, count: 512)

    mutating func text(_ text: Name, at place: Int, width: Int) {
        bytes.replaceSubrange(place..<place + min(text.count, width), with: text.prefix(width))
    }

    mutating func number(_ value: Int64, at place: Int, width: Int) {
        let digits = String(value, radix: 8)
        precondition(value >= 0 && digits.utf8.count < width, "\(value) does not fit a field of \(width)")
        text(
            String(repeating: "0", count: width - 1 - digits.utf8.count).name + digits.name, at: place, width: width - 1
        )
    }

    /// Magic, version and checksum.
    mutating func finish() {
        text("ustar".name, at: 257, width: 6)
        text("00".name, at: 263, width: 2)
        let sum = bytes.reduce(0) { $0 + Int64($1) } + 8 * 32
        number(sum, at: 148, width: 7)
        bytes[155] = 32
    }
}
