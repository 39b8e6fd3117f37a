import LayerModel

/// How much a reader takes.
public struct JSONLimits: Sendable {
    /// How deep values may be nested; a value that is no object or array has depth 0.
    public var depth = 64
    /// Refuse an object that has a name twice. Else the caller sees both, in order.
    public var refusesRepeatedNames = false

    public init(depth: Int = 64, refusesRepeatedNames: Bool = false) {
        self.depth = depth
        self.refusesRepeatedNames = refusesRepeatedNames
    }
}

/// Reads JSON (RFC 8259) in place, as its caller asks for it: strings are parts of the text, nothing is built.
///
/// Strict: no byte order mark, strings are UTF-8, numbers have the form that the rule gives, and `end` refuses everything but
/// blanks behind the value. Half of a surrogate pair reads U+FFFD. An object is read with `beginObject` and then `nextMember`
/// until it says false, each member's value with exactly one other call; arrays alike.
public struct JSONReader: ~Escapable {
    let text: RawSpan
    /// Where the reader stands.
    public private(set) var position = 0
    private let limits: JSONLimits
    private var depth = 0
    private var isFirst = false
    private var name = 0..<0
    private var nameHasEscapes = false
    private var names = JSONNames()

    @_lifetime(copy text)
    public init(_ text: RawSpan, limits: JSONLimits = JSONLimits()) {
        self.text = text
        self.limits = limits
    }

    /// What the next value is, from its first byte.
    public mutating func kind() throws(JSONError) -> JSONKind {
        skipBlanks()
        guard position < text.byteCount else { throw error(.endOfText) }
        switch text[position] {
        case UInt8(ascii: "{"): return .object
        case UInt8(ascii: "["): return .array
        case UInt8(ascii: "\""): return .string
        case UInt8(ascii: "t"), UInt8(ascii: "f"): return .bool
        case UInt8(ascii: "n"): return .null
        case UInt8(ascii: "-"), 0x30...0x39: return .number
        default: throw error(.unexpectedByte)
        }
    }

    public mutating func beginObject() throws(JSONError) {
        try begin(.object)
        if limits.refusesRepeatedNames { names.begin() }
    }

    /// Moves on to the next member's value; false at the object's end, which is passed.
    public mutating func nextMember() throws(JSONError) -> Bool {
        guard try next(UInt8(ascii: "}")) else {
            if limits.refusesRepeatedNames, !names.end() { throw error(.repeatedName) }
            return false
        }
        skipBlanks()
        let start = position
        let name = try string()
        self.name = start + 1..<position - 1
        nameHasEscapes = name.hasEscapes
        if limits.refusesRepeatedNames, !names.add(name) { throw JSONError(.repeatedName, at: start) }
        skipBlanks()
        try take(UInt8(ascii: ":"))
        return true
    }

    /// The current member's name; until the next call.
    public var memberName: JSONText {
        @_lifetime(copy self)
        get { JSONText(text.extracting(name), hasEscapes: nameHasEscapes) }
    }

    /// Whether the current member has that name.
    public func isMember(_ text: StaticString) -> Bool { memberName.equals(text) }

    public mutating func beginArray() throws(JSONError) { try begin(.array) }

    /// Moves on to the next element; false at the array's end, which is passed.
    public mutating func nextElement() throws(JSONError) -> Bool { try next(UInt8(ascii: "]")) }

    /// A string, in place.
    @_lifetime(copy self)
    public mutating func string() throws(JSONError) -> JSONText {
        guard try kind() == .string else { throw error(.wanted(.string)) }
        position += 1
        let start = position
        var hasEscapes = false
        while true {
            position = PlainWord.end(text, from: position)
            guard position < text.byteCount else { throw error(.endOfText) }
            let byte = text[position]
            switch byte {
            case UInt8(ascii: "\""):
                position += 1
                return JSONText(text.extracting(start..<position - 1), hasEscapes: hasEscapes)
            case UInt8(ascii: "\\"):
                hasEscapes = true
                try skipEscape()
            case 0..<0x20: throw error(.controlInString)
            case 0..<0x80: position += 1
            default:
                let length = UTF8Scan.length(text, position)
                guard length > 0 else { throw error(.notUTF8) }
                position += length
            }
        }
    }

    public mutating func bool() throws(JSONError) -> Bool {
        guard try kind() == .bool else { throw error(.wanted(.bool)) }
        let value = text[position] == UInt8(ascii: "t")
        try take(word: value ? "true" : "false")
        return value
    }

    /// Passes over `null`; false, and nothing is passed, where the next value is another.
    public mutating func takeNull() throws(JSONError) -> Bool {
        guard try kind() == .null else { return false }
        try take(word: "null")
        return true
    }

    /// A number's text.
    @_lifetime(copy self)
    public mutating func number() throws(JSONError) -> RawSpan {
        guard try kind() == .number else { throw error(.wanted(.number)) }
        let start = position
        if text[position] == UInt8(ascii: "-") { position += 1 }
        if position < text.byteCount, text[position] == UInt8(ascii: "0") { position += 1 } else { try takeDigits() }
        if peek(UInt8(ascii: ".")) {
            position += 1
            try takeDigits()
        }
        if peek(UInt8(ascii: "e")) || peek(UInt8(ascii: "E")) {
            position += 1
            if peek(UInt8(ascii: "+")) || peek(UInt8(ascii: "-")) { position += 1 }
            try takeDigits()
        }
        // What may follow a number ends it; `01` and `1x` are no numbers.
        if position < text.byteCount, Self.isWord(text[position]) { throw error(.badNumber) }
        return text.extracting(start..<position)
    }

    /// A number without fraction and exponent, in range.
    public mutating func int64() throws(JSONError) -> Int64 {
        let (magnitude, isNegative, start) = try whole()
        if isNegative {
            guard magnitude <= Int64.min.magnitude else { throw JSONError(.outOfRange, at: start) }
            return Int64(truncatingIfNeeded: 0 &- magnitude)
        }
        guard let value = Int64(exactly: magnitude) else { throw JSONError(.outOfRange, at: start) }
        return value
    }

    /// The same, from zero on.
    public mutating func uint64() throws(JSONError) -> UInt64 {
        let (magnitude, isNegative, start) = try whole()
        guard !isNegative || magnitude == 0 else { throw JSONError(.outOfRange, at: start) }
        return magnitude
    }

    /// Passes over any value, all of which must be JSON. Says where it stands.
    @discardableResult
    public mutating func skip() throws(JSONError) -> Range<Int> {
        let kind = try kind()
        let start = position
        switch kind {
        case .object:
            try beginObject()
            while try nextMember() { try skip() }
        case .array:
            try beginArray()
            while try nextElement() { try skip() }
        case .string: _ = try string()
        case .number: _ = try number()
        case .bool: _ = try bool()
        case .null: _ = try takeNull()
        }
        return start..<position
    }

    /// An array of strings.
    public mutating func strings() throws(JSONError) -> [String] {
        var strings: [String] = []
        try beginArray()
        while try nextElement() { strings.append(try string().string) }
        return strings
    }

    /// Says that all was read; refuses everything but blanks.
    public mutating func end() throws(JSONError) {
        skipBlanks()
        guard position == text.byteCount else { throw error(.bytesBehind) }
    }

    /// The error of a caller that does not like what it read last.
    public func error(_ reason: JSONError.Reason) -> JSONError { JSONError(reason, at: position) }

    private mutating func begin(_ wanted: JSONKind) throws(JSONError) {
        guard try kind() == wanted else { throw error(.wanted(wanted)) }
        guard depth < limits.depth else { throw error(.tooDeep) }
        depth += 1
        position += 1
        isFirst = true
    }

    private mutating func next(_ closing: UInt8) throws(JSONError) -> Bool {
        skipBlanks()
        guard position < text.byteCount else { throw error(.endOfText) }
        if text[position] == closing {
            position += 1
            depth -= 1
            isFirst = false
            return false
        }
        if !isFirst { try take(UInt8(ascii: ",")) }
        isFirst = false
        return true
    }

    private mutating func whole() throws(JSONError) -> (magnitude: UInt64, isNegative: Bool, start: Int) {
        let digits = try number()
        let start = position - digits.byteCount
        let isNegative = digits[0] == UInt8(ascii: "-")
        var value: UInt64 = 0
        for index in (isNegative ? 1 : 0)..<digits.byteCount {
            guard (0x30...0x39).contains(digits[index]) else { throw JSONError(.notWhole, at: start) }
            let (product, isOver) = value.multipliedReportingOverflow(by: 10)
            let (sum, isTooMuch) = product.addingReportingOverflow(UInt64(digits[index] - 0x30))
            guard !isOver, !isTooMuch else { throw JSONError(.outOfRange, at: start) }
            value = sum
        }
        return (value, isNegative, start)
    }

    private mutating func takeDigits() throws(JSONError) {
        let start = position
        while position < text.byteCount, (0x30...0x39).contains(text[position]) { position += 1 }
        guard position > start else { throw error(.badNumber) }
    }

    private mutating func skipEscape() throws(JSONError) {
        guard position + 1 < text.byteCount else { throw error(.endOfText) }
        switch text[position + 1] {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
            UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
            position += 2
        case UInt8(ascii: "u"):
            guard position + 6 <= text.byteCount else { throw error(.endOfText) }
            for index in position + 2..<position + 6 where hexadecimalValue(text[index]) == nil {
                throw error(.badEscape)
            }
            position += 6
        default: throw error(.badEscape)
        }
    }

    private mutating func take(_ byte: UInt8) throws(JSONError) {
        guard position < text.byteCount else { throw error(.endOfText) }
        guard text[position] == byte else { throw error(.unexpectedByte) }
        position += 1
    }

    private mutating func take(word: StaticString) throws(JSONError) {
        for index in 0..<word.utf8CodeUnitCount { try take(asciiByte(word, index)) }
        if position < text.byteCount, Self.isWord(text[position]) { throw error(.unexpectedByte) }
    }

    private func peek(_ byte: UInt8) -> Bool { position < text.byteCount && text[position] == byte }

    private mutating func skipBlanks() {
        while position < text.byteCount {
            switch text[position] {
            case 0x20, 0x0a, 0x0d, 0x09: position += 1
            default: return
            }
        }
    }

    private static func isWord(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."): true
        default: false
        }
    }
}
