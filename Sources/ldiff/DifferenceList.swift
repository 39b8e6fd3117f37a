import LayerModel
import LayerPipeline
import PlainJSON

/// What `compare` prints: a line for each path, or one JSON object.
struct DifferenceList {
    private let output: OutputFile
    private let isJSON: Bool
    private let isQuiet: Bool
    private var json = JSONWriter()
    private var text = ""

    init(_ output: OutputFile, isJSON: Bool, isQuiet: Bool) {
        self.output = output
        self.isJSON = isJSON
        self.isQuiet = isQuiet
    }

    mutating func begin() throws(LayerError) {
        guard isJSON else { return }
        json.beginObject()
        json.name("differences")
        json.beginArray()
    }

    mutating func add(_ difference: DifferingEntry) throws(LayerError) {
        if isJSON { write(difference) } else if !isQuiet { text += difference.line }
        if text.utf8.count + json.bytes.count > 64 << 10 { try flush() }
    }

    mutating func end(_ report: ComparisonReport, seconds: Double) throws(LayerError) {
        if isJSON {
            json.endArray()
            json.name("equal")
            json.bool(report.isEqual)
            json.name("entriesA")
            json.number(report.entries.first)
            json.name("entriesB")
            json.number(report.entries.second)
            for (name, count) in [
                ("added", report.added), ("deleted", report.removed), ("changed", report.changed),
            ] {
                json.name(name)
                json.number(count)
            }
            json.name("seconds")
            json.seconds(seconds)
            json.endObject()
            json.endLine()
        }
        try flush()
    }

    private mutating func flush() throws(LayerError) {
        try output.writeText(text + String(decoding: json.bytes, as: UTF8.self))
        text = ""
        json.removeAll()
    }

    private mutating func write(_ difference: DifferingEntry) {
        json.beginLine()
        json.beginObject()
        json.path("path", difference.path.bytes.rawBytes)
        json.name("change")
        json.string(difference.change)
        if difference.first != nil, difference.second != nil {
            json.name("aspects")
            json.beginArray()
            for (word, aspect) in EntryAspects.words where difference.aspects.contains(aspect) { json.string(word) }
            json.endArray()
        }
        if let first = difference.first {
            json.name("a")
            write(first)
        }
        if let second = difference.second {
            json.name("b")
            write(second)
        }
        json.endObject()
    }

    private mutating func write(_ entry: ComparedEntry) {
        json.beginObject()
        json.name("kind")
        json.string(entry.kind.name)
        if entry.kind.hasMetadata {
            json.name("mode")
            json.number(entry.mode)
            json.name("uid")
            json.number(entry.uid)
            json.name("gid")
            json.number(entry.gid)
            json.name("mtimeSeconds")
            json.number(entry.seconds)
            json.name("mtimeNanoseconds")
            json.number(entry.nanoseconds)
        }
        if entry.kind == .regular {
            json.name("contentBytes")
            json.number(entry.size)
        }
        if let digest = entry.digest {
            json.name("digest")
            json.string(digest.description)
        }
        if let target = entry.target {
            json.path("target", target.bytes.rawBytes)
        }
        if let device = entry.device {
            json.name("deviceMajor")
            json.number(device.major)
            json.name("deviceMinor")
            json.number(device.minor)
        }
        if let name = entry.firstName {
            json.path("linkedTo", name.bytes.rawBytes)
        }
        if entry.isOpaque {
            json.name("opaque")
            json.bool(true)
        }
        if !entry.attributes.isEmpty {
            json.name("attributes")
            json.beginArray()
            for attribute in entry.attributes {
                json.beginObject()
                json.path("name", attribute.name.bytes.rawBytes)
                json.name("digest")
                json.string(attribute.digest.description)
                json.endObject()
            }
            json.endArray()
        }
        json.endObject()
    }
}

extension ComparedKind {
    /// Whether mode, owner and time say something.
    fileprivate var hasMetadata: Bool { self != .linkBelow && self != .deletion && self != .opaque }
}

extension ComparedEntry {
    /// Seconds since 1970, with what there is beyond them.
    fileprivate var time: String {
        guard nanoseconds > 0 else { return seconds.description }
        let digits = nanoseconds.description
        var fraction = String(repeating: "0", count: max(0, 9 - digits.utf8.count)) + digits
        while fraction.hasSuffix("0") { fraction.removeLast() }
        return "\(seconds).\(fraction)"
    }

    fileprivate var octalMode: String {
        let digits = String(mode, radix: 8)
        return String(repeating: "0", count: max(0, 4 - digits.utf8.count)) + digits
    }

    /// What a file, a link or a device holds.
    fileprivate var contents: String {
        if let target { return target.description }
        if let device { return "\(device.major):\(device.minor)" }
        return "\(size) bytes" + (digest.map { " \($0)" } ?? "")
    }
}

extension DifferingEntry {
    fileprivate var change: String { first == nil ? "added" : second == nil ? "deleted" : "changed" }

    /// The difference as a line for people.
    fileprivate var line: String {
        guard let first else { return "A \(path) (\(second?.kind.name ?? ""))\n" }
        guard let second else { return "D \(path) (\(first.kind.name))\n" }
        return "C \(path): " + parts(first, second).joined(separator: "; ") + "\n"
    }

    private func parts(_ first: ComparedEntry, _ second: ComparedEntry) -> [String] {
        var parts: [String] = []
        func add(_ aspect: EntryAspects, _ word: String, _ text: (ComparedEntry) -> String) {
            if aspects.contains(aspect) { parts.append("\(word) \(text(first)) -> \(text(second))") }
        }
        add(.kind, "kind") { $0.kind.name }
        add(.mode, "mode") { $0.octalMode }
        add(.owner, "owner") { "\($0.uid):\($0.gid)" }
        add(.times, "time") { $0.time }
        if aspects.contains(.attributes) {
            parts.append(
                "attributes " + Self.attributes(first, second).map(\.description).joined(separator: ", "))
        }
        add(.contents, first.target == nil && first.device == nil ? "contents" : "target") { $0.contents }
        add(.links, "same file as") { $0.firstName?.description ?? "none" }
        add(.deletions, "opaque") { $0.isOpaque ? "yes" : "no" }
        return parts
    }

    /// Names of the attributes that differ.
    private static func attributes(_ first: ComparedEntry, _ second: ComparedEntry) -> [PathBytes] {
        let (one, two) = (Set(first.attributes), Set(second.attributes))
        return Set(one.symmetricDifference(two).map(\.name)).sorted {
            bytesCompare($0.bytes.rawBytes, $1.bytes.rawBytes) < 0
        }
    }
}
