/// One JSON object, written as its members are added (RFC 8259).
struct JSONObject {
    private var members: [String] = []

    mutating func add(_ name: String, _ value: String) { add(name, raw: Self.quoted(value)) }
    mutating func add(_ name: String, _ value: some BinaryInteger) { add(name, raw: value.description) }
    mutating func add(_ name: String, _ value: Bool) { add(name, raw: value.description) }
    mutating func add(_ name: String, _ value: [String]) {
        add(name, raw: "[" + value.map(Self.quoted).joined(separator: ",") + "]")
    }
    mutating func add(_ name: String, _ value: JSONObject) { add(name, raw: value.text) }
    mutating func add(_ name: String, _ values: [JSONObject]) {
        add(name, raw: "[" + values.map(\.text).joined(separator: ",") + "]")
    }

    /// A duration in seconds, to the microsecond.
    mutating func add(_ name: String, seconds: Double) {
        let micros = UInt64((max(0, seconds) * 1_000_000).rounded())
        let fraction = (micros % 1_000_000).description
        add(name, raw: "\(micros / 1_000_000).\(String(repeating: "0", count: 6 - fraction.count))\(fraction)")
    }

    /// The object.
    var text: String { "{" + membersText + "}" }
    /// The object without its braces.
    var membersText: String { members.joined(separator: ",") }

    private mutating func add(_ name: String, raw value: String) {
        members.append(Self.quoted(name) + ":" + value)
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
