/// `FIELD`, `FIELD == VALUE`, `FIELD != VALUE` or `FIELD ~= EXPRESSION`.
package struct FilterSelector: Sendable {
    /// What is asked of the field.
    package enum Test: Sendable {
        case present
        case equal(String)
        case different(String)
        case search(FilterExpression)
    }

    /// The names between the dots, at least one.
    package let field: [String]
    package let test: Test

    package init(field: [String], test: Test) {
        self.field = field
        self.test = test
    }

    /// Whether a field's value passes; nil stands for a field that is not there.
    package func matches(_ value: String?) -> Bool {
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
