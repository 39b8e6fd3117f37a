import FilterLanguage

/// Which snapshots a List is to give: any of several filters, each of which is all of its selectors.
struct SnapshotFilter: Sendable {
    private let alternatives: [[FilterSelector]]

    /// Everything.
    static let all = SnapshotFilter(alternatives: [[]])

    private init(alternatives: [[FilterSelector]]) { self.alternatives = alternatives }

    /// Reads the filters of a request; none, or an empty one, is everything.
    ///
    /// Throws `invalidArgument` with the place of a syntax error.
    init(_ texts: [String]) throws(ServiceFailure) {
        var alternatives: [[FilterSelector]] = []
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

    /// Whether matching may take longer than comparing texts does.
    var hasExpressions: Bool {
        alternatives.joined().contains { selector in
            if case .search = selector.test { true } else { false }
        }
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
}
