import Glibc

/// One entry of an archive, with where its body lies.
struct ArchiveEntry {
    var name: Name
    var linkName: Name
    var type: UInt8
    var mode: Int
    var uid: Int
    var gid: Int
    var mtime: Int
    var major: Int
    var minor: Int
    var body: Range<Int>
    var attributes: [Name: Name]

    var path: Name { name.last == UInt8(ascii: "/") ? name.dropLast() : name }
}

/// An archive in memory, read by plain rules: ustar blocks and PAX records, which is all that ldiff writes.
final class Archive {
    let bytes: UnsafeRawBufferPointer
    private(set) var entries: [ArchiveEntry] = []

    /// Maps the file; an error where it is no complete archive.
    init(_ path: String) throws {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw Malformed("is not there") }
        defer { close(file) }
        let size = Int(lseek(file, 0, SEEK_END))
        guard size >= 1024, size % 512 == 0 else { throw Malformed("has \(size) bytes") }
        let start = mmap(nil, size, PROT_READ, MAP_PRIVATE, file, 0)
        guard let start, start != MAP_FAILED else { throw Trouble.call("mmap", path) }
        bytes = UnsafeRawBufferPointer(start: start, count: size)
        try parse()
    }

    deinit { munmap(UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count) }

    /// What is wrong with an archive as such.
    struct Malformed: Error, CustomStringConvertible {
        let description: String
        init(_ description: String) { self.description = description }
    }

    func body(_ entry: ArchiveEntry) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: bytes[entry.body]) }

    /// Whether `text` is anywhere in it, in a header or a body.
    func contains(_ text: Name) -> Bool {
        text.withUnsafeBytes { Libc.find(bytes.baseAddress, bytes.count, $0.baseAddress, $0.count) } != nil
    }

    private func parse() throws {
        var position = 0
        var records: [Name: Name] = [:]
        while position + 512 <= bytes.count {
            if isZero(position) {
                guard bytes.count - position == 1024, isZero(position + 512) else {
                    throw Malformed("ends at \(position) of \(bytes.count)")
                }
                return
            }
            try verifySum(position)
            let type = bytes[position + 156]
            let size =
                records["size".name].flatMap { Int(String(decoding: $0, as: UTF8.self)) } ?? number(position + 124, 12)
            let body = position + 512..<position + 512 + size
            guard size >= 0, body.upperBound <= bytes.count else {
                throw Malformed("is cut in the body at \(position)")
            }
            if type == UInt8(ascii: "x") {
                records = try parseRecords(body)
            } else {
                entries.append(entry(position, type, body, records))
                records = [:]
            }
            position = (body.upperBound + 511) & ~511
        }
        throw Malformed("has no end")
    }

    private func entry(_ block: Int, _ type: UInt8, _ body: Range<Int>, _ records: [Name: Name]) -> ArchiveEntry {
        func value(_ key: String, _ place: Int, _ width: Int) -> Int {
            records[key.name].flatMap { Int(String(decoding: $0, as: UTF8.self)) } ?? number(block + place, width)
        }
        let prefix = text(block + 345, 155)
        let plain = text(block, 100)
        var attributes: [Name: Name] = [:]
        let label = "SCHILY.xattr.".name
        for (key, value) in records where key.starts(with: label) {
            attributes[Name(key.dropFirst(label.count))] = value
        }
        return ArchiveEntry(
            name: records["path".name] ?? (prefix.isEmpty ? plain : prefix + [UInt8(ascii: "/")] + plain),
            linkName: records["linkpath".name] ?? text(block + 157, 100), type: type, mode: number(block + 100, 8),
            uid: value("uid", 108, 8), gid: value("gid", 116, 8), mtime: value("mtime", 136, 12),
            major: number(block + 329, 8), minor: number(block + 337, 8), body: body, attributes: attributes)
    }

    private func parseRecords(_ body: Range<Int>) throws -> [Name: Name] {
        var found: [Name: Name] = [:]
        var rest = bytes[body]
        while !rest.isEmpty {
            guard let space = rest.firstIndex(of: 32),
                let length = Int(String(decoding: rest[..<space], as: UTF8.self)), length > 0, length <= rest.count
            else { throw Malformed("has a broken PAX record at \(rest.startIndex)") }
            let record = rest[space + 1..<rest.startIndex + length - 1]
            guard let equals = record.firstIndex(of: UInt8(ascii: "=")) else {
                throw Malformed("has a PAX record without =")
            }
            found[Name(record[..<equals])] = Name(record[(equals + 1)...])
            rest = rest[(rest.startIndex + length)...]
        }
        return found
    }

    private func text(_ place: Int, _ width: Int) -> Name { Name(bytes[place..<place + width].prefix { $0 != 0 }) }

    private func number(_ place: Int, _ width: Int) -> Int {
        let digits = bytes[place..<place + width].filter { $0 != 0 && $0 != 32 }
        return Int(String(decoding: digits, as: UTF8.self), radix: 8) ?? -1
    }

    private func isZero(_ block: Int) -> Bool { bytes[block..<block + 512].allSatisfy { $0 == 0 } }

    private func verifySum(_ block: Int) throws {
        var sum = 8 * 32
        for place in block..<block + 512 where !(148..<156).contains(place - block) { sum += Int(bytes[place]) }
        guard number(block + 148, 8) == sum else { throw Malformed("has no header at \(block)") }
    }
}
