/// A regular expression that is looked for anywhere in a value, with the syntax and the meaning of Go's `regexp`.
///
/// One that is invalid there is found nowhere, as in containerd. Looking for one takes time in proportion to the lengths of
/// the expression and the value, whatever either says.
package struct FilterExpression: Sendable {
    /// What the filter says, as it was written.
    package let text: String
    private let program: ExpressionProgram?

    /// Reads an expression; throws the reason where it is beyond what is matched here: then it may be valid for Go.
    package init(_ text: String) throws(ExpressionTooLarge) {
        self.text = text
        do throws(ExpressionError) {
            var parser = ExpressionParser(text)
            program = try parser.program()
        } catch {
            if case .tooLarge(let reason) = error { throw ExpressionTooLarge(reason: reason) }
            program = nil
        }
    }

    /// Whether the expression can be read.
    package var isValid: Bool { program != nil }

    /// Whether some part of the value is what the expression says.
    package func isFound(in value: String) -> Bool {
        guard let program else { return false }
        var machine = ExpressionMachine(program)
        return machine.isFound(in: value)
    }
}

/// An expression asks for more than is matched here.
package struct ExpressionTooLarge: Error {
    package let reason: String
}

/// Why an expression is none.
enum ExpressionError: Error {
    /// It is invalid for Go, too.
    case invalid
    case tooLarge(String)
}

/// What an expression is compiled to: threads run through the instructions, each from its start, and one that reaches the
/// end has found something.
///
/// Jumps are relative, so that a part can be repeated by copying it.
struct ExpressionProgram: Sendable {
    enum Instruction: Sendable {
        /// Takes this character and goes on with the next instruction.
        case character(UInt32)
        /// Takes a character of the set.
        case set(Int32)
        case any
        case anyButNewline
        /// Goes on in both places.
        case split(Int32, Int32)
        case jump(Int32)
        /// Goes on where this holds.
        case check(Assertion)
        /// Nothing goes on here: what an empty set of characters leaves.
        case never
    }

    enum Assertion: Sendable {
        case textStart, textEnd, lineStart, lineEnd, wordBoundary, noWordBoundary
    }

    /// Instructions that an expression may come to; time is this many steps a character at most.
    static let longest = 10_000
    /// Ranges of characters in all its sets.
    static let mostRanges = 200_000

    var code: [Instruction]
    var sets: [CharacterSet]
}
