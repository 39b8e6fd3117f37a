import PlainJSON

/// ldiff's own reports, budgets and results as text.
extension JSONValue {
    /// `<` is escaped so that the text can stand inside a script element of the HTML report.
    private static let style: JSONStyle = [.newlines, .openingBrackets]

    /// The value as text, on one line.
    var text: String { String(decoding: bytes(Self.style), as: UTF8.self) }

    /// The value as text for people: a member a line, arrays of numbers on one.
    var prettyText: String { prettyText(level: 0) }

    private func prettyText(level: Int) -> String {
        switch self {
        case .array(let elements) where !elements.allSatisfy({ $0.number != nil }):
            return Self.list("[", elements.map { $0.prettyText(level: level + 1) }, "]", level)
        case .object(let members) where !members.isEmpty:
            let texts = members.map { JSONValue.string($0.0).text + ": " + $0.1.prettyText(level: level + 1) }
            return Self.list("{", texts, "}", level)
        default: return text
        }
    }

    private static func list(_ open: String, _ parts: [String], _ close: String, _ level: Int) -> String {
        let margin = "\n" + String(repeating: "  ", count: level + 1)
        return open + margin + parts.joined(separator: "," + margin) + "\n" + String(repeating: "  ", count: level)
            + close
    }
}
