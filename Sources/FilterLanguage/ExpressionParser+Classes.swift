/// Escapes, and sets of characters.
extension ExpressionParser {
    /// What begins with a backslash outside of brackets.
    mutating func escaped() throws(ExpressionError) {
        if skip("\\A") { return try emit(.check(.textStart)) }
        if skip("\\z") { return try emit(.check(.textEnd)) }
        if skip("\\b") { return try emit(.check(.wordBoundary)) }
        if skip("\\B") { return try emit(.check(.noWordBoundary)) }
        if skip("\\Q") {
            while !rest.isEmpty, !skip("\\E") { try literal(rest.removeFirst().value) }
            return
        }
        if let set = try escapedSet() { return try emitSet(set) }
        try literal(try escapedCharacter())
    }

    /// `\d`, `\S`, `\pL`, `\P{Greek}` and their like, passed over; nil where none stands here.
    private mutating func escapedSet() throws(ExpressionError) -> CharacterSet? {
        let next = rest.dropFirst().first
        guard rest.first == "\\", let next else { return nil }
        let set: CharacterSet
        switch next {
        case "d", "D": set = .digit
        case "s", "S": set = .space
        case "w", "W": set = .word
        case "p", "P":
            rest.removeFirst(2)
            return try property(isNegated: next == "P")
        default: return nil
        }
        rest.removeFirst(2)
        return caseless(set, isNegated: ("A"..."Z").contains(next))
    }

    private mutating func property(isNegated: Bool) throws(ExpressionError) -> CharacterSet {
        guard let first = rest.popFirst() else { throw .invalid }
        var name = String(first)
        if first == "{" {
            name = ""
            while let scalar = rest.popFirst(), scalar != "}" {
                name.unicodeScalars.append(scalar)
                // An end that is missing shows here: no property has a name as long as what follows.
                guard name.utf8.count <= 100, !rest.isEmpty else { throw .invalid }
            }
        }
        var isNegated = isNegated
        if name.first == "^" {
            isNegated.toggle()
            name.removeFirst()
        }
        guard let set = CharacterSet.property(name) else { throw .invalid }
        return caseless(set, isNegated: isNegated)
    }

    /// The set as the flags make it: cases first, then its complement.
    private func caseless(_ set: CharacterSet, isNegated: Bool) -> CharacterSet {
        let set = ignoresCase ? set.folded : set
        return isNegated ? set.complement : set
    }

    /// A backslash and what it makes a character of.
    private mutating func escapedCharacter() throws(ExpressionError) -> UInt32 {
        rest.removeFirst()
        guard let scalar = rest.popFirst() else { throw .invalid }
        switch scalar {
        case "0"..."7":
            // One digit alone would be a reference back.
            guard scalar == "0" || rest.first.map({ ("0"..."7").contains($0) }) ?? false else { throw .invalid }
            var value = scalar.value - 0x30
            for _ in 0..<2 {
                guard let digit = rest.first, ("0"..."7").contains(digit) else { break }
                rest.removeFirst()
                value = value * 8 + digit.value - 0x30
            }
            return value
        case "x": return try hexadecimal()
        case "a": return 0x07
        case "f": return 0x0c
        case "n": return 0x0a
        case "r": return 0x0d
        case "t": return 0x09
        case "v": return 0x0b
        default:
            let isPunctuation = scalar.value < 0x80 && (scalar == "_" || !CharacterSet.word.contains(scalar.value))
            guard isPunctuation else { throw .invalid }
            return scalar.value
        }
    }

    /// Two digits, or any number of them in braces.
    private mutating func hexadecimal() throws(ExpressionError) -> UInt32 {
        func digit(_ scalar: Unicode.Scalar?) throws(ExpressionError) -> UInt32 {
            guard let scalar, scalar.value < 0x80, let value = Character(scalar).hexDigitValue else { throw .invalid }
            return UInt32(value)
        }
        guard rest.first == "{" else {
            let high = try digit(rest.popFirst())
            return high << 4 | (try digit(rest.popFirst()))
        }
        rest.removeFirst()
        var value = try digit(rest.popFirst())
        while rest.first != "}" {
            value = value << 4 | (try digit(rest.popFirst()))
            guard value <= CharacterSet.last else { throw .invalid }
        }
        rest.removeFirst()
        return value
    }

    /// What stands in brackets.
    mutating func bracket() throws(ExpressionError) -> CharacterSet {
        rest.removeFirst()
        let isNegated = skip("^")
        var plain: [CharacterSet.Range] = []
        var ranges: [CharacterSet.Range] = []
        var isFirst = true
        while isFirst || rest.first != "]" {
            isFirst = false
            if let set = try namedSet() {
                ranges += set.ranges
            } else if let set = try escapedSet() {
                ranges += set.ranges
            } else {
                let low = try bracketCharacter()
                var high = low
                let second = rest.dropFirst().first
                if rest.first == "-", let second, second != "]" {
                    rest.removeFirst()
                    high = try bracketCharacter()
                }
                guard low <= high else { throw .invalid }
                plain.append(low...high)
            }
        }
        rest.removeFirst()
        let set = CharacterSet(caseless(CharacterSet(plain), isNegated: false).ranges + ranges)
        return isNegated ? set.complement : set
    }

    private mutating func bracketCharacter() throws(ExpressionError) -> UInt32 {
        if rest.first == "\\" { return try escapedCharacter() }
        guard let scalar = rest.popFirst() else { throw .invalid }
        return scalar.value
    }

    /// `[:alpha:]` or `[:^alpha:]`; nil where none stands here.
    private mutating func namedSet() throws(ExpressionError) -> CharacterSet? {
        guard rest.starts(with: "[:".unicodeScalars) else { return nil }
        var ahead = rest.dropFirst(2)
        var name = ""
        while let scalar = ahead.popFirst() {
            guard scalar == ":", ahead.first == "]" else {
                name.unicodeScalars.append(scalar)
                continue
            }
            ahead.removeFirst()
            let isNegated = name.first == "^"
            if isNegated { name.removeFirst() }
            guard let set = CharacterSet.named(name) else { throw .invalid }
            rest = ahead
            return caseless(set, isNegated: isNegated)
        }
        return nil
    }
}
