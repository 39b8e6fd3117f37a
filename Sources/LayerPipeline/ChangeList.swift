package import LayerEngine
package import LayerModel
import LinuxIO
import PlainJSON

/// How a list of changes is written.
package enum ChangeListFormat: Sendable {
    /// `A /path` and a newline; control bytes, backslashes and bytes that are not UTF-8 read `\xNN`.
    case text
    /// `A /path` and a NUL, the path's bytes as they are.
    case raw
    /// The elements of a JSON array, `{"change":"added","path":"/path"}`; what is not UTF-8 is base 64 in `pathBytes`.
    case json
}

extension LayerDifference {
    /// Writes the changes to `output`, sorted by path bytes.
    ///
    /// `prefix` and `suffix` go before and after the list; the suffix may tell of the report.
    @discardableResult
    package static func list(
        _ source: SourceOptions, profile: LayerProfile = .full, skipUnreadable: Bool = false,
        format: ChangeListFormat, to output: OutputFile, prefix: String = "",
        suffix: (ChangesReport) -> String = { _ in "" }
    ) throws(LayerError) -> ChangesReport {
        try list(format: format, to: output, source.cancel, prefix: prefix, suffix: suffix) {
            (body) throws(LayerError) in
            try changes(source, profile: profile, skipUnreadable: skipUnreadable, body)
        }
    }

    /// Writes the changes that `find` calls its argument with.
    static func list(
        format: ChangeListFormat, to output: OutputFile, _ cancel: CancelFlag, prefix: String,
        suffix: (ChangesReport) -> String,
        _ find: ((ChangeKind, RawSpan) throws(LayerError) -> Void) throws(LayerError) -> ChangesReport
    ) throws(LayerError) -> ChangesReport {
        var writer = ChangeListWriter(output, format)
        try writer.write(prefix)
        let report = try find { (kind, path) throws(LayerError) in try writer.write(kind, path) }
        try cancel.check()
        try writer.write(suffix(report))
        try writer.finish()
        try output.commit()
        return report
    }
}

/// Formats changes into an output's buffer; ordinary names cost one copy and no allocation.
private struct ChangeListWriter: ~Copyable {
    private var sink: OutputSink
    private let format: ChangeListFormat
    private var json = JSONWriter()
    private var escaped: [UInt8] = []

    init(_ output: OutputFile, _ format: ChangeListFormat) {
        sink = OutputSink(output)
        self.format = format
    }

    mutating func write(_ kind: ChangeKind, _ path: RawSpan) throws(LayerError) {
        let letter = kind.letter
        switch format {
        case .raw:
            try sink.write(letter, UInt8(ascii: " "))
            try sink.write(path)
            try sink.write(0)
        case .text:
            try sink.write(letter, UInt8(ascii: " "))
            if PathEscaping.isPlain(path) {
                try sink.write(path)
            } else {
                escaped.removeAll(keepingCapacity: true)
                PathEscaping.append(path, to: &escaped)
                let text = escaped
                try sink.write(text.rawBytes)
            }
            try sink.write(UInt8(ascii: "\n"))
        case .json:
            json.beginLine()
            json.beginObject()
            json.name("change")
            json.string(kind.word)
            json.path("path", path)
            json.endObject()
            let text = json.takeBytes()
            try sink.write(text.rawBytes)
            json.giveBack(text)
        }
    }

    mutating func write(_ text: String) throws(LayerError) {
        guard !text.isEmpty else { return }
        let bytes = Array(text.utf8)
        try sink.write(bytes.rawBytes)
    }

    mutating func finish() throws(LayerError) { try sink.finish() }
}

extension ChangeKind {
    /// What reports call it.
    fileprivate var word: String {
        switch self {
        case .added: "added"
        case .modified, .unmodified: "changed"
        case .deleted: "deleted"
        }
    }
}
