public import LayerModel

/// The body of an HTTP server's answer to a request for ranges of a layer (RFC 9110, section 14), taken apart as it comes.
///
/// Servers may answer with the parts in any order, with several joined to one, with a single part, or with everything.
public struct RangeAnswer: Sendable {
    private enum Phase {
        /// Before a part: the line of its boundary.
        case boundary
        case header
        /// In bytes of the layer.
        case body
        case end
    }

    private let wanted: [Range<UInt64>]
    private var coverage: RangeCoverage
    private var phase: Phase
    /// The line that separates parts, without line ends.
    private let separator: [UInt8]
    private var line: [UInt8] = []
    private var headers = 0
    private var range: Range<UInt64>?
    /// Where the next byte of a body lies in the layer, and where the part ends; nil where the answer's end ends it.
    private var position: UInt64 = 0
    private var end: UInt64?

    /// A line of a header is not longer.
    private static let longestLine = 8192

    /// Looks at the answer's head. `wanted` was asked for: sorted and apart.
    ///
    /// Throws `io` for a status that brings no bytes of the layer.
    public init(
        status: Int, contentType: String?, contentRange: String?, wanted: [Range<UInt64>]
    ) throws(LayerError) {
        self.wanted = wanted
        coverage = RangeCoverage(wanted)
        switch status {
        case 200:
            (phase, separator) = (.body, [])
        case 206:
            if let boundary = contentType.flatMap({ Self.boundary($0) }) {
                (phase, separator) = (.boundary, Array("--\(boundary)".utf8))
                return
            }
            guard let range = contentRange.flatMap({ Self.range($0) }) else {
                throw Self.error("the server does not say which part it sends")
            }
            (phase, separator) = (.body, [])
            (position, end) = (range.lowerBound, range.upperBound)
        case 416: throw Self.error("the server says that the layer is shorter (416)")
        default: throw Self.error("the server answers \(status)")
        }
    }

    /// Takes bytes of the answer's body; `body` gets those that were asked for, with where they lie.
    public mutating func take(
        _ bytes: RawSpan, _ body: (UInt64, RawSpan) throws(LayerError) -> Void
    ) throws(LayerError) {
        var at = 0
        while at < bytes.byteCount {
            switch phase {
            case .end: return
            case .body:
                let left = end.map { $0 - position } ?? UInt64(bytes.byteCount)
                let count = Int(min(left, UInt64(bytes.byteCount - at)))
                try pass(bytes.extracting(at..<at + count), body)
                at += count
                position += UInt64(count)
                if position == end { phase = separator.isEmpty ? .end : .boundary }
            case .boundary, .header:
                let byte = bytes[at]
                at += 1
                if byte == UInt8(ascii: "\n") { try takeLine() } else { line.append(byte) }
                guard line.count <= Self.longestLine else { throw Self.error("a line of the answer is too long") }
            }
        }
    }

    /// Says that the answer is at its end. Throws `io` where something is missing.
    public mutating func finish() throws(LayerError) {
        guard coverage.isComplete else { throw Self.error("the answer ended before all parts had come") }
    }

    private mutating func pass(
        _ bytes: RawSpan, _ body: (UInt64, RawSpan) throws(LayerError) -> Void
    ) throws(LayerError) {
        let here = position..<position + UInt64(bytes.byteCount)
        for range in wanted where range.overlaps(here) {
            let part = range.clamped(to: here)
            let start = Int(part.lowerBound - here.lowerBound)
            try body(part.lowerBound, bytes.extracting(start..<start + part.count))
            coverage.add(part)
        }
    }

    private mutating func takeLine() throws(LayerError) {
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        defer { line.removeAll(keepingCapacity: true) }
        if phase == .boundary {
            // A preamble, or the line end of the body before.
            guard line.starts(with: separator) else { return }
            let rest = line.dropFirst(separator.count)
            phase = rest.starts(with: "--".utf8) ? .end : .header
            (headers, range) = (0, nil)
            return
        }
        headers += 1
        guard headers <= 64 else { throw Self.error("a part has too many headers") }
        guard line.isEmpty else {
            let text = String(decoding: line, as: UTF8.self)
            if let colon = text.firstIndex(of: ":"), text[..<colon].lowercased() == "content-range" {
                range = Self.range(String(text[text.index(after: colon)...]))
            }
            return
        }
        guard let range else { throw Self.error("a part does not say where it lies") }
        (position, end, phase) = (range.lowerBound, range.upperBound, .body)
    }

    /// `bytes 5-9/100`.
    private static func range(_ text: String) -> Range<UInt64>? {
        let words = text.split(whereSeparator: { $0 == " " || $0 == "\t" })
        guard words.count == 2, words[0].lowercased() == "bytes" else { return nil }
        let places = words[1].prefix { $0 != "/" }.split(separator: "-", omittingEmptySubsequences: false)
        guard places.count == 2, let first = UInt64(places[0]), let last = UInt64(places[1]), first <= last,
            last < UInt64(Int64.max)
        else { return nil }
        return first..<last + 1
    }

    /// The boundary of `multipart/byteranges; boundary=x`, quoted or not; nil for other types.
    private static func boundary(_ type: String) -> String? {
        let parts = type.split(separator: ";").map { part in part.drop { $0 == " " } }
        guard let first = parts.first, first.lowercased().hasPrefix("multipart/byteranges") else { return nil }
        for part in parts.dropFirst() where part.lowercased().hasPrefix("boundary=") {
            var value = part.dropFirst(9)
            while value.last == " " { value = value.dropLast() }
            if value.count >= 2, value.first == "\"", value.last == "\"" { value = value.dropFirst().dropLast() }
            return value.isEmpty || value.utf8.count > 200 ? nil : String(value)
        }
        return nil
    }

    private static func error(_ reason: String) -> LayerError {
        LayerError(.io, "fetch parts of the layer", cause: .reason(reason))
    }
}
