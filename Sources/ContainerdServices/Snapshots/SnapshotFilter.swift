/// Which snapshots a List is to give (drop-in.md 1.3): any of several filters, each of which is all of its selectors.
struct SnapshotFilter: Sendable {
    private let alternatives: [[Selector]]

    /// Everything.
    static let all = SnapshotFilter(alternatives: [[]])

    private init(alternatives: [[Selector]]) { self.alternatives = alternatives }

    /// Reads the filters of a request; none, or an empty one, is everything.
    ///
    /// Throws `invalidArgument` with the place of a syntax error.
    init(_ texts: [String]) throws(ServiceFailure) {
        var alternatives: [[Selector]] = []
        for text in texts {
            do throws(FilterSyntaxError) {
                var parser = FilterParser(text)
                alternatives.append(try parser.selectors())
            } catch {
                throw ServiceFailure(
                    .invalidArgument, "parse filter \(quoted(text)): at byte \(error.position): \(error.reason)")
            }
        }
        self.alternatives = alternatives.isEmpty ? [[]] : alternatives
    }

    /// Whether a record is one of them. `labels` are those of the answer.
    func matches(_ record: SnapshotRecord, parent: String, labels: [String: String]) -> Bool {
        alternatives.contains { selectors in
            selectors.allSatisfy { $0.matches(Self.value($0.field, record, parent, labels)) }
        }
    }

    /// The value of a field; nil where the snapshot has none.
    private static func value(
        _ field: [String], _ record: SnapshotRecord, _ parent: String, _ labels: [String: String]
    ) -> String? {
        switch field.first {
        case "name": record.name
        case "parent": parent
        case "kind": record.kind.word
        case "labels": labels[field.dropFirst().joined(separator: ".")]
        default: nil
        }
    }

    /// `FIELD`, `FIELD == VALUE`, `FIELD != VALUE` or `FIELD ~= EXPRESSION`.
    struct Selector: Sendable {
        enum Test: Sendable {
            case present
            case equal(String)
            case different(String)
            case search(FilterExpression)
        }

        let field: [String]
        let test: Test

        func matches(_ value: String?) -> Bool {
            switch test {
            case .present: value != nil
            case .equal(let wanted): value.map { same($0, wanted) } ?? false
            // What is not there compares as an empty value.
            case .different(let unwanted): !same(value ?? "", unwanted)
            case .search(let expression): value.map(expression.isFound) ?? false
            }
        }

        private func same(_ one: String, _ other: String) -> Bool { one.utf8.elementsEqual(other.utf8) }
    }
}

/// A regular expression that is looked for anywhere in a value. One that is invalid is found nowhere, as in containerd.
///
/// The syntax is RE2's. What Swift's engine knows beyond it (looking around, references back) is refused, since RE2 has
/// no such thing.
struct FilterExpression: @unchecked Sendable {
    // Regex is no Sendable; it is made once and never changed.
    private let expression: Regex<AnyRegexOutput>?

    /// Longer ones are nobody's filter; matching time grows with the length.
    private static let longest = 1000

    init(_ text: String) {
        guard text.utf8.count <= Self.longest, !Self.isBeyondRE2(text) else {
            expression = nil
            return
        }
        expression = (try? Regex(text))?.matchingSemantics(.unicodeScalar)
    }

    func isFound(in value: String) -> Bool {
        guard let expression else { return false }
        return (try? expression.firstMatch(in: value)) ?? nil != nil
    }

    private static func isBeyondRE2(_ text: String) -> Bool {
        var rest = text.unicodeScalars[...]
        while let scalar = rest.popFirst() {
            if scalar == "\\" {
                guard let next = rest.popFirst() else { return true }
                if ("1"..."9").contains(next) || next == "k" || next == "G" || next == "K" { return true }
            } else if scalar == "(", rest.first == "?" {
                let kind = rest.dropFirst().prefix(2)
                if let first = kind.first, "=!>|#".unicodeScalars.contains(first) { return true }
                if kind.first == "<", let second = kind.last, second == "=" || second == "!" { return true }
            }
        }
        return false
    }
}
