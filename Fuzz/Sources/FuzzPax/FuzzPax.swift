import FuzzArchives
import FuzzSupport
import LayerModel

@testable import TarCodec

/// Records of chance mean what a second reading of the rules says, records that are written read as they were written, and
/// so do the texts inside them: numbers, times, escapes, lists of access rights.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzPax(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    var input = FuzzInput(data, count)
    switch input.byte() & 3 {
    case 0, 1: checkRecords(input.rest, isGlobal: false, input.pieceSizes())
    case 2: checkWritten(&input)
    default:
        let text = input.rest
        checkTime(text)
        checkEncodings(text)
        checkAccessControl(text)
    }
    return 0
}

/// The payload as it is, in front of an empty file.
private func checkRecords(_ payload: [UInt8], isGlobal: Bool, _ sizes: [Int]) {
    let archive =
        headerBlock(name: "x", type: TarType.paxHeader, size: Int64(payload.count)) + padded(payload)
        + headerBlock(name: "plain", size: 0)
    let whole = FuzzReading(archive)
    require(FuzzReading(archive, sizes) == whole, "pieces read as the whole")
    for entry in whole.entries { entry.check(TarLimits()) }
    guard let records = split(payload) else {
        require(whole.entries.isEmpty, "records that cannot be told apart are refused")
        return
    }
    guard let entry = whole.entries.first, !entry.isSparse else { return }
    require(entry.name == last("path", records) ?? Array("plain".utf8), "the last path counts")
    require(entry.link == last("linkpath", records) ?? [], "the last link counts")
    require(entry.user == last("uname", records) ?? [], "the last user counts")
    require(entry.group == last("gname", records) ?? [], "the last group counts")
    for (key, value) in [("uid", entry.fields.uid), ("gid", entry.fields.gid), ("size", entry.fields.size)] {
        guard let text = last(key, records) else { continue }
        require(Int64(String(decoding: text, as: UTF8.self)) == value, "the last \(key) counts")
    }
    var names = Set<[UInt8]>()
    for index in stride(from: 0, to: entry.attributes.count, by: 2) {
        let key = Array("SCHILY.xattr.".utf8) + entry.attributes[index]
        names.insert(key)
        guard let value = records.last(where: { $0.key == key })?.value else { continue }
        require(entry.attributes[index + 1] == value, "the last attribute of a name counts")
    }
    for (key, _) in records where key.starts(with: Array("SCHILY.xattr.".utf8)) {
        require(names.contains(key), "no attribute is lost")
    }
}

/// `LENGTH KEY=VALUE\n` again and again; nil where the payload is not that.
private func split(_ payload: [UInt8]) -> [(key: [UInt8], value: [UInt8])]? {
    var records: [(key: [UInt8], value: [UInt8])] = []
    var rest = payload[...]
    while !rest.isEmpty {
        let digits = rest.prefix { (0x30...0x39).contains($0) }
        guard let length = Int(String(decoding: digits, as: UTF8.self)), length > digits.count + 1, length <= rest.count
        else { return nil }
        let record = rest.prefix(length).dropFirst(digits.count)
        rest = rest.dropFirst(length)
        guard record.first == 0x20, record.last == 0x0a else { return nil }
        let body = record.dropFirst().dropLast()
        guard let equals = body.firstIndex(of: UInt8(ascii: "=")), equals > body.startIndex,
            !body[..<equals].contains(0)
        else { return nil }
        records.append((Array(body[..<equals]), Array(body[(equals + 1)...])))
    }
    return records
}

/// The last value of a key, nil also where that is empty, which means the same.
private func last(_ key: String, _ records: [(key: [UInt8], value: [UInt8])]) -> [UInt8]? {
    records.last { $0.key == Array(key.utf8) }.flatMap { $0.value.isEmpty ? nil : $0.value }
}

/// Names, numbers and attributes of chance through the encoder and back.
private func checkWritten(_ input: inout FuzzInput) {
    var fields = TarFields()
    fields.uid = input.number()
    fields.gid = input.number()
    fields.size = input.number()
    fields.mtimeSeconds = input.number()
    let texts = (0..<4).map { _ in input.piece(limit: 300) }
    let (name, link, user, group) = (texts[0], texts[1], texts[2], texts[3])
    var attributes: [[UInt8]: [UInt8]] = [:]
    var encoder = TarEncoder()
    for _ in 0..<Int(input.byte() & 7) {
        let (name, value) = (input.piece(limit: 40), input.piece(limit: 300))
        attributes[name] = value
        encoder.addExtendedAttribute(name: name.rawBytes, value: value.rawBytes)
    }
    let isSayable =
        texts.allSatisfy { !$0.contains(0) } && fields.size >= 0 && texts[0].last != UInt8(ascii: "/")
        && attributes.keys.allSatisfy { !$0.isEmpty && !$0.contains(0) && !$0.contains(UInt8(ascii: "=")) }
    do {
        try encoder.encode(
            fields, name: name.rawBytes, linkName: link.rawBytes, userName: user.rawBytes,
            groupName: group.rawBytes, format: .pax)
    } catch {
        require(!isSayable, "what a header can say is written, not refused with \(error)")
        return
    }
    require(isSayable, "what no header can say is refused")
    let reading = FuzzReading(encoder.blocks.copied())
    guard texts[0].split(separator: UInt8(ascii: "/")).allSatisfy({ $0.count <= 255 }) else { return }
    require(reading.entries.count == 1, "what was written is read: \(reading.ending)")
    let entry = reading.entries[0]
    require([entry.name, entry.link, entry.user, entry.group] == texts, "names are what was written")
    require(entry.fields == fields, "numbers are what was written")
    let found = stride(from: 0, to: entry.attributes.count, by: 2).map { entry.attributes[$0] }
    require(found == attributes.keys.sorted { $0.lexicographicallyPrecedes($1) }, "attributes are those written")
    for (index, name) in found.enumerated() {
        require(entry.attributes[index * 2 + 1] == attributes[name], "values are what was written")
    }
}

/// A time that is taken reads the same once it is written in full.
private func checkTime(_ text: [UInt8]) {
    guard let time = PaxReader.time(text.span) else { return }
    require((0..<1_000_000_000).contains(time.nanoseconds), "nanoseconds are below a second")
    let digits = { (value: Int32) in String(String(1_000_000_000 + Int64(value)).dropFirst()) }
    // The fraction of a negative time counts downwards.
    let written =
        time.seconds < 0 && time.nanoseconds > 0
        ? "-\((time.seconds + 1).magnitude).\(digits(1_000_000_000 - time.nanoseconds))"
        : "\(time.seconds).\(digits(time.nanoseconds))"
    let bytes = Array(written.utf8)
    let again = PaxReader.time(bytes.span)
    require(again.map { $0 == time } ?? false, "the time \(time) reads as it is written, \(written)")
}

private func checkEncodings(_ bytes: [UInt8]) {
    var decoded: [UInt8] = []
    let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var encoded: [UInt8] = []
    var bits: UInt32 = 0
    var held = 0
    for byte in bytes {
        bits = (bits << 8 | UInt32(byte)) & 0xffff
        held += 8
        while held >= 6 {
            held -= 6
            encoded.append(letters[Int(bits >> UInt32(held) & 63)])
        }
    }
    if held > 0 { encoded.append(letters[Int(bits << UInt32(6 - held) & 63)]) }
    require(PaxReader.decodeBase64(encoded.span, into: &decoded) && decoded == bytes, "base 64 reads as written")
    encoded += [UInt8](repeating: UInt8(ascii: "="), count: (4 - encoded.count % 4) % 4)
    require(PaxReader.decodeBase64(encoded.span, into: &decoded) && decoded == bytes, "padding changes nothing")
    _ = PaxReader.decodeBase64(bytes.span, into: &decoded)
    require(decoded.count <= bytes.count, "base 64 does not grow")
    guard !bytes.isEmpty, !bytes.contains(0) else { return }
    let escaped = bytes.flatMap { Array("%\($0 < 16 ? "0" : "")\(String($0, radix: 16))".utf8) }
    require(PaxReader.decodePercent(escaped.span, into: &decoded) && decoded == bytes, "escapes read as written")
}

/// A list that is taken is one that the kernel takes, and reads the same once it is written again.
private func checkAccessControl(_ text: [UInt8]) {
    guard let value = AccessControlText.attribute(text.span) else { return }
    require(value.count % 8 == 4 && Array(value.prefix(4)) == [2, 0, 0, 0], "the list has its form")
    var lines: [String] = []
    var lastKey: (Int, Int) = (0, 0)
    for start in stride(from: 4, to: value.count, by: 8) {
        let tag = Int(value[start]) | Int(value[start + 1]) << 8
        let bits = Int(value[start + 2]) | Int(value[start + 3]) << 8
        let id = (0..<4).reduce(0) { $0 | Int(value[start + 4 + $1]) << ($1 * 8) }
        require((tag, id) >= lastKey && bits < 8, "entries are in the kernel's order")
        lastKey = (tag, id)
        let words = [1: "user:", 2: "user:", 4: "group:", 8: "group:", 16: "mask:", 32: "other:"]
        guard let word = words[tag] else { fatalError("rule broken: the tag \(tag) is none") }
        let name = tag == 2 || tag == 8 ? "\(id)" : ""
        lines.append(
            word + name + ":" + (bits & 4 != 0 ? "r" : "-") + (bits & 2 != 0 ? "w" : "-") + (bits & 1 != 0 ? "x" : "-"))
    }
    let written = Array(lines.joined(separator: "\n").utf8)
    let again = AccessControlText.attribute(written.span)
    require(again == value, "the list reads as it is written")
}
