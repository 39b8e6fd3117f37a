/// Reads an expression as Go's `regexp/syntax` does with its flags for Perl, straight into a program: only whether something
/// is found matters here, so groups need no numbers and laziness means nothing.
struct ExpressionParser {
    typealias Code = [ExpressionProgram.Instruction]

    struct Flags {
        var ignoresCase = false
        var linesCount = false
        var dotTakesNewline = false
    }

    /// A group that is open, or the whole.
    private struct Group {
        var flags = Flags()
        /// Alternatives that are complete.
        var alternatives: [Code] = []
        /// The current alternative.
        var code: Code = []
        /// Where in the code the last thing stands that could be repeated; nil in front of it.
        var atom: Int?
        /// How often the counted repetitions in the last thing, and in all things here, multiply what is in them.
        var atomRepeats = 1
        var repeats = 1
    }

    /// Groups that may be open at once.
    private static let deepest = 1000

    var rest: Substring.UnicodeScalarView
    private var groups = [Group()]
    private var sets: [CharacterSet] = []
    private var setNumbers: [CharacterSet: Int32] = [:]
    private var rangeCount = 0
    private var instructionCount = 0

    init(_ text: String) { rest = Substring(text).unicodeScalars }

    /// The program of the whole expression.
    mutating func program() throws(ExpressionError) -> ExpressionProgram {
        var wasRepeated = false
        while let scalar = rest.first {
            let repeated = try element(scalar, wasRepeated)
            wasRepeated = repeated
        }
        guard groups.count == 1 else { throw .invalid }
        return ExpressionProgram(code: closeGroup().code, sets: sets)
    }

    /// Reads what begins with `scalar`; whether it was a repetition.
    private mutating func element(_ scalar: Unicode.Scalar, _ wasRepeated: Bool) throws(ExpressionError) -> Bool {
        switch scalar {
        case "(": try openGroup()
        case ")":
            rest.removeFirst()
            guard groups.count > 1 else { throw .invalid }
            let group = closeGroup()
            append(group.code, repeats: group.repeats)
        case "|":
            rest.removeFirst()
            groups[last].alternatives.append(groups[last].code)
            groups[last].code = []
            groups[last].atom = nil
            try count(2)
        case "*", "+", "?":
            rest.removeFirst()
            try repeatLast(scalar == "+" ? 1 : 0, scalar == "?" ? 1 : nil, isCounted: false, wasRepeated)
            return true
        case "{":
            guard let (least, most) = counts() else {
                rest.removeFirst()
                try literal(scalar.value)
                return false
            }
            guard max(least, most ?? 0) <= 1000, least <= most ?? least else { throw .invalid }
            try repeatLast(least, most, isCounted: true, wasRepeated)
            return true
        case "[": try emitSet(try bracket())
        case ".":
            rest.removeFirst()
            try emit(groups[last].flags.dotTakesNewline ? .any : .anyButNewline)
        case "^":
            rest.removeFirst()
            try emit(.check(groups[last].flags.linesCount ? .lineStart : .textStart))
        case "$":
            rest.removeFirst()
            try emit(.check(groups[last].flags.linesCount ? .lineEnd : .textEnd))
        case "\\": try escaped()
        default:
            rest.removeFirst()
            try literal(scalar.value)
        }
        return false
    }

    private var last: Int { groups.count - 1 }

    private mutating func count(_ instructions: Int) throws(ExpressionError) {
        instructionCount += instructions
        guard instructionCount <= ExpressionProgram.longest else {
            throw .tooLarge("it comes to more than \(ExpressionProgram.longest) steps")
        }
    }

    private mutating func append(_ code: Code, repeats: Int = 1) {
        groups[last].atom = groups[last].code.count
        groups[last].atomRepeats = repeats
        groups[last].repeats = max(groups[last].repeats, repeats)
        groups[last].code += code
    }

    mutating func emit(_ instruction: ExpressionProgram.Instruction) throws(ExpressionError) {
        try count(1)
        append([instruction])
    }

    /// A character that stands for itself, in its other cases too where the flags say so.
    mutating func literal(_ character: UInt32) throws(ExpressionError) {
        if ignoresCase, let group = CaseFolding.group(character) {
            return try emitSet(CharacterSet(group.map { $0...$0 }))
        }
        try emit(.character(character))
    }

    mutating func emitSet(_ set: CharacterSet) throws(ExpressionError) {
        if set.ranges.isEmpty { return try emit(.never) }
        if let number = setNumbers[set] { return try emit(.set(number)) }
        rangeCount += set.ranges.count
        guard rangeCount <= ExpressionProgram.mostRanges else { throw .tooLarge("its sets of characters are too many") }
        let number = Int32(sets.count)
        sets.append(set)
        setNumbers[set] = number
        try emit(.set(number))
    }

    var ignoresCase: Bool { groups[last].flags.ignoresCase }

    // MARK: Groups

    /// `(`, `(?:`, `(?P<name>`, `(?<name>`, `(?flags)` and `(?flags:`.
    private mutating func openGroup() throws(ExpressionError) {
        rest.removeFirst()
        var flags = groups[last].flags
        if rest.first == "?" {
            rest.removeFirst()
            if skip("P<") || skip("<") {
                try groupName()
            } else if try readFlags(&flags) {
                groups[last].flags = flags
                return
            }
        }
        guard groups.count < Self.deepest else { throw .tooLarge("its groups nest too deeply") }
        groups.append(Group(flags: flags))
    }

    mutating func skip(_ text: String) -> Bool {
        guard rest.starts(with: text.unicodeScalars) else { return false }
        rest.removeFirst(text.unicodeScalars.count)
        return true
    }

    /// A name up to its end; it may be another group's, too.
    private mutating func groupName() throws(ExpressionError) {
        var isNamed = false
        while let scalar = rest.popFirst() {
            if scalar == ">" {
                guard isNamed else { throw .invalid }
                return
            }
            guard CharacterSet.word.contains(scalar.value) else { throw .invalid }
            isNamed = true
        }
        throw .invalid
    }

    /// Reads flags up to `)`, which makes them hold for the rest of the group, or `:`; true for the former.
    private mutating func readFlags(_ flags: inout Flags) throws(ExpressionError) -> Bool {
        var value = true
        var sawFlag = false
        while let scalar = rest.popFirst() {
            switch scalar {
            case "i": flags.ignoresCase = value
            case "m": flags.linesCount = value
            case "s": flags.dotTakesNewline = value
            case "U": break
            case "-":
                guard value else { throw .invalid }
                value = false
                sawFlag = false
                continue
            case ":", ")":
                guard value || sawFlag else { throw .invalid }
                return scalar == ")"
            default: throw .invalid
            }
            sawFlag = true
        }
        throw .invalid
    }

    /// Ends the innermost group: its alternatives one behind the other, each but the last with a way around it.
    private mutating func closeGroup() -> Group {
        var group = groups.removeLast()
        group.alternatives.append(group.code)
        if groups.isEmpty { groups.append(Group()) }
        let total = group.alternatives.reduce(-2) { $0 + $1.count + 2 }
        var code: Code = []
        code.reserveCapacity(total)
        for (index, alternative) in group.alternatives.enumerated() {
            guard index + 1 < group.alternatives.count else {
                code += alternative
                break
            }
            code.append(.split(1, Int32(alternative.count + 2)))
            code += alternative
            code.append(.jump(Int32(total - code.count)))
        }
        group.code = code
        return group
    }

    // MARK: Repetition

    /// Makes the last thing come `least` to `most` times; nil is any number.
    private mutating func repeatLast(
        _ least: Int, _ most: Int?, isCounted: Bool, _ wasRepeated: Bool
    ) throws(ExpressionError) {
        if rest.first == "?" { rest.removeFirst() }
        guard !wasRepeated, let start = groups[last].atom else { throw .invalid }
        let part = Array(groups[last].code[start...])
        if isCounted {
            // As Go: of repetitions in each other the numbers multiplied.
            if most == 0 { groups[last].atomRepeats = 1 } else { groups[last].atomRepeats *= max(most ?? least, 1) }
            guard max(least, most ?? 0) < 2 || groups[last].atomRepeats <= 1000 else { throw .invalid }
            groups[last].repeats = max(groups[last].repeats, groups[last].atomRepeats)
        }
        try count(max(0, max(least, most ?? least + 1) - 1) * (part.count + 1) + 2)
        var code: Code = []
        for _ in 0..<least { code += part }
        if let most {
            // Each further one can be left out, and then so are those behind it.
            for left in stride(from: most - least, to: 0, by: -1) {
                code.append(.split(1, Int32(left * (part.count + 1))))
                code += part
            }
        } else {
            code.append(.split(1, Int32(part.count + 2)))
            code += part
            code.append(.jump(Int32(-part.count - 1)))
        }
        groups[last].code.replaceSubrange(start..., with: code)
    }

    /// `{n}`, `{n,}` or `{n,m}`, passed over; nil, with nothing passed over, where it is no such thing.
    private mutating func counts() -> (least: Int, most: Int?)? {
        var ahead = rest
        ahead.removeFirst()
        guard let least = Self.number(&ahead) else { return nil }
        var most: Int? = least
        if ahead.first == "," {
            ahead.removeFirst()
            if ahead.first == "}" {
                most = nil
            } else {
                guard let number = Self.number(&ahead) else { return nil }
                most = number
            }
        }
        guard ahead.popFirst() == "}" else { return nil }
        rest = ahead
        return (least, most)
    }

    /// Digits without a zero in front; beyond a million it is just too many.
    private static func number(_ text: inout Substring.UnicodeScalarView) -> Int? {
        let digits = text.prefix { ("0"..."9").contains($0) }
        guard let first = digits.first, digits.count == 1 || first != "0" else { return nil }
        text.removeFirst(digits.count)
        return digits.count > 6 ? 1_000_000 : Int(String(digits))
    }
}
