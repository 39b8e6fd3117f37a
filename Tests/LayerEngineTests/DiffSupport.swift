import Glibc
import LayerEngine
import LayerModel
import TestSupport

/// What is compared with what, by path.
func source(
    _ upper: String, lowers: [String] = [], _ dialect: WhiteoutDialect = .tree, workers: Int? = nil, io: IOMode = .auto
) -> SourceOptions {
    var source = SourceOptions(upper: PathBytes(upper))
    source.lowers = lowers.map { PathBytes($0) }
    source.dialect = dialect
    source.workers = workers
    source.io = io
    return source
}

/// The layer's bytes.
func layer(
    _ source: SourceOptions, _ profile: LayerProfile = .full, _ change: (inout DiffOptions) -> Void = { _ in }
) throws -> [UInt8] {
    try layerAndReport(source, profile, change).bytes
}

func layerAndReport(
    _ source: SourceOptions, _ profile: LayerProfile = .full, _ change: (inout DiffOptions) -> Void = { _ in }
) throws -> (bytes: [UInt8], report: DiffReport) {
    var options = DiffOptions()
    options.profile = profile
    change(&options)
    var sink = CollectingSink()
    let report = try DiffEngine.write(source, options: options, into: &sink)
    return (sink.bytes, report)
}

/// The changes as lines `A /path`, names escaped.
func changes(_ source: SourceOptions, _ profile: LayerProfile = .full, contentCheck: Bool = false) throws -> [String] {
    var lines: [String] = []
    _ = try DiffEngine.changes(source, profile: profile, contentCheck: contentCheck) { kind, path throws(LayerError) in
        lines.append("\(String(UnicodeScalar(kind.letter))) \(escapedText(path.copied()))")
    }
    return lines
}

/// Applies a layer to a directory.
func unpack(_ bytes: [UInt8], to root: String) throws {
    var stream = MemorySource(bytes)
    _ = try ApplyEngine.apply(&stream, root: openPath(root), options: ApplyOptions())
}

/// A copy whose files are the same ones under other names.
func linkTree(_ from: String, to target: String) throws {
    let copied = try runProgram(["cp", "--archive", "--link", from, target])
    guard copied.status == 0 else { throw TestFailure(copied.errors) }
}

/// Copies a tree with all it carries.
func copyTree(_ from: String, to target: String) throws {
    let result = try runProgram(["cp", "-a", "--reflink=never", from, target])
    guard result.status == 0 else { throw TestFailure("cp -a \(from): \(result.errors)") }
}

/// One entry of a tar stream, read by rules of the format alone and not by the codec under test.
struct ListedEntry {
    var type: Character
    var name: [UInt8]
    var link: [UInt8]
    var mode: Int
    var uid: Int
    var gid: Int
    var size: Int
    var time: Int
    var user: String
    var group: String
    var major: Int
    var minor: Int
    /// Keys and values of the extended header in front, in order.
    var records: [(key: String, value: [UInt8])]
    /// The main header's 512 bytes.
    var block: [UInt8]
    /// The extended header's own block, if there is one.
    var extendedBlock: [UInt8]?
    var body: [UInt8]

    /// The cases' notation: `F name`, `D name/`, `S name->target`, `H name=>target`, `W name`.
    var text: String {
        let name = escapedText(self.name)
        switch type {
        case "5": return "D \(name)"
        case "2": return "S \(name)->\(escapedText(link))"
        case "1": return "H \(name)=>\(escapedText(link))"
        case "3": return "C \(name) \(major):\(minor)"
        case "4": return "B \(name) \(major):\(minor)"
        case "6": return "P \(name)"
        case "0":
            let last = self.name.split(separator: UInt8(ascii: "/")).last ?? []
            return (last.starts(with: Array(".wh.".utf8)) ? "W " : "F ") + name
        default: return "\(type) \(name)"
        }
    }

    func record(_ key: String) -> String? {
        records.last { $0.key == key }.map { String(decoding: $0.value, as: UTF8.self) }
    }

    /// The raw bytes of a header field.
    func field(_ start: Int, _ count: Int) -> [UInt8] { Array(block[start..<start + count]) }
    /// A header field as text, up to its NUL.
    func textField(_ start: Int, _ count: Int) -> String {
        String(decoding: field(start, count).prefix { $0 != 0 }, as: UTF8.self)
    }
}

/// Reads the entries of a tar stream that ends as it must: two zero blocks and nothing behind them.
func listed(_ bytes: [UInt8]) throws -> [ListedEntry] {
    var entries: [ListedEntry] = []
    var position = 0
    var records: [(key: String, value: [UInt8])] = []
    var extended: [UInt8]?
    while true {
        guard position + 512 <= bytes.count else { throw TestFailure("the stream ends at \(position) without an end") }
        let block = Array(bytes[position..<position + 512])
        if block.allSatisfy({ $0 == 0 }) {
            guard bytes.count == position + 1024, bytes[position...].allSatisfy({ $0 == 0 }) else {
                throw TestFailure("not exactly two zero blocks at \(position) of \(bytes.count)")
            }
            return entries
        }
        try checkSum(block, position)
        let size = number(block, 124, 12)
        let type = Character(UnicodeScalar(block[156]))
        let hasBody = type == "0" || type == "x"
        let start = position + 512
        if type == "x" {
            records = try paxRecords(bytes[start..<start + size])
            extended = block
        } else {
            var entry = entry(block, type)
            entry.records = records
            entry.extendedBlock = extended
            if let path = records.last(where: { $0.key == "path" }) { entry.name = path.value }
            if let path = records.last(where: { $0.key == "linkpath" }) { entry.link = path.value }
            for (key, target) in [("uid", \ListedEntry.uid), ("gid", \.gid), ("mtime", \.time), ("size", \.size)] {
                if let value = entry.record(key), let number = Int(value) { entry[keyPath: target] = number }
            }
            if hasBody {
                guard start + entry.size <= bytes.count else { throw TestFailure("body cut at \(position)") }
                entry.body = Array(bytes[start..<start + entry.size])
            }
            entries.append(entry)
            records = []
            extended = nil
        }
        position = start + (hasBody ? (max(size, entries.last?.body.count ?? 0) + 511) / 512 * 512 : 0)
        if type == "x" { position = start + (size + 511) / 512 * 512 }
    }
}

private func entry(_ block: [UInt8], _ type: Character) -> ListedEntry {
    func text(_ start: Int, _ count: Int) -> [UInt8] { Array(block[start..<start + count].prefix { $0 != 0 }) }
    let prefix = text(345, 155)
    return ListedEntry(
        type: type, name: prefix.isEmpty ? text(0, 100) : prefix + [UInt8(ascii: "/")] + text(0, 100),
        link: text(157, 100), mode: number(block, 100, 8), uid: number(block, 108, 8), gid: number(block, 116, 8),
        size: number(block, 124, 12), time: number(block, 136, 12),
        user: String(decoding: text(265, 32), as: UTF8.self), group: String(decoding: text(297, 32), as: UTF8.self),
        major: number(block, 329, 8), minor: number(block, 337, 8), records: [], block: block, extendedBlock: nil,
        body: [])
}

private func number(_ block: [UInt8], _ start: Int, _ count: Int) -> Int {
    Int(String(decoding: block[start..<start + count].prefix { $0 != 0 }, as: UTF8.self), radix: 8) ?? 0
}

private func checkSum(_ block: [UInt8], _ position: Int) throws {
    var sum = 8 * 32
    for index in 0..<512 where !(148..<156).contains(index) { sum += Int(block[index]) }
    guard number(block, 148, 8) == sum else { throw TestFailure("wrong checksum at \(position)") }
}

private func paxRecords(_ bytes: ArraySlice<UInt8>) throws -> [(key: String, value: [UInt8])] {
    var records: [(key: String, value: [UInt8])] = []
    var rest = bytes
    while !rest.isEmpty {
        guard let space = rest.firstIndex(of: 0x20), let length = Int(String(decoding: rest[..<space], as: UTF8.self)),
            length <= rest.count, rest[rest.startIndex + length - 1] == 0x0a,
            let equals = rest[space...].firstIndex(of: UInt8(ascii: "="))
        else { throw TestFailure("not a record: \(escapedText(Array(rest.prefix(40))))") }
        let end = rest.startIndex + length - 1
        records.append(
            (String(decoding: rest[(space + 1)..<equals], as: UTF8.self), Array(rest[(equals + 1)..<end])))
        rest = rest[(end + 1)...]
    }
    return records
}

/// The entries of a layer in that notation.
func texts(_ bytes: [UInt8]) throws -> [String] { try listed(bytes).map(\.text) }

/// Says where two streams first differ, in words a person can use.
func firstDifference(_ ours: [UInt8], _ theirs: [UInt8]) -> String? {
    if ours == theirs { return nil }
    let common = min(ours.count, theirs.count)
    let offset = (0..<common).first { ours[$0] != theirs[$0] } ?? common
    var text = "\(ours.count) and \(theirs.count) bytes, different from \(offset) on"
    do {
        for (one, two) in zip(try listed(ours), try listed(theirs))
        where one.block != two.block || one.text != two.text {
            return text + ": \(one.text) \(two.text)\n\(escapedText(one.block))\n\(escapedText(two.block))"
        }
        text += ": \(try texts(ours)) \(try texts(theirs))"
    } catch { text += " (\(error))" }
    return text
}
