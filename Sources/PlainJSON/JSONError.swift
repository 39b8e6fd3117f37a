public import LayerModel

/// Why text is no JSON (RFC 8259), or not the JSON that was asked for; and where.
public struct JSONError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What is wrong there.
    public enum Reason: Equatable, Sendable {
        case endOfText
        case unexpectedByte
        case controlInString
        case badEscape
        case notUTF8
        case badNumber
        case notWhole
        case outOfRange
        case tooDeep
        case tooLong
        case repeatedName
        case bytesBehind
        /// A value of another kind is wanted here.
        case wanted(JSONKind)
    }

    public let reason: Reason
    /// Bytes before the place.
    public let offset: Int

    public init(_ reason: Reason, at offset: Int) {
        self.reason = reason
        self.offset = offset
    }

    public var description: String { "\(words) (at byte \(offset) of the JSON)" }

    private var words: String {
        switch reason {
        case .endOfText: "the text ends too early"
        case .unexpectedByte: "a byte that may not stand there"
        case .controlInString: "a control character in a string"
        case .badEscape: "an escape that is none"
        case .notUTF8: "bytes that are not UTF-8"
        case .badNumber: "a number that is none"
        case .notWhole: "a number that is not whole"
        case .outOfRange: "a number out of range"
        case .tooDeep: "nested too deeply"
        case .tooLong: "too long"
        case .repeatedName: "a name that an object has twice"
        case .bytesBehind: "bytes behind the value"
        case .wanted(let kind): "no \(kind.rawValue), though one belongs there"
        }
    }
}

/// What a value is.
public enum JSONKind: String, Equatable, Sendable {
    case object, array, string, number, null
    case bool = "truth value"
}

extension LayerError {
    /// The error of whoever needed that JSON.
    @inline(never)
    public init(_ error: JSONError, _ code: Code, _ operation: String, path: PathBytes? = nil) {
        self.init(code, operation, path: path, cause: .reason(error.description))
    }
}
