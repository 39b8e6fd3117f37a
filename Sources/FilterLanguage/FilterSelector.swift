/// `FIELD`, `FIELD == VALUE`, `FIELD != VALUE` or `FIELD ~= EXPRESSION`.
public struct FilterSelector: Sendable {
    /// What is asked of the field.
    public enum Test: Sendable {
        case present
        case equal(String)
        case different(String)
        case search(FilterExpression)
    }

    /// The names between the dots, at least one.
    public let field: [String]
    public let test: Test

    public init(field: [String], test: Test) {
        self.field = field
        self.test = test
    }

    /// Whether a field's value passes; nil stands for a field that is not there.
    public func matches(_ value: String?) -> Bool {
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
