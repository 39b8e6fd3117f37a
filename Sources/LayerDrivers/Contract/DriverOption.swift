public import LayerModel

/// One `key=value` of a driver's options.
public struct DriverOption: Sendable, Equatable {
    /// In lower case.
    public var key: String
    public var value: String

    /// Splits at the first `=`; spaces around both parts do not count.
    ///
    /// Throws `invalidArgument` where there is no `=`.
    public init(parsing text: String) throws(LayerError) {
        guard let cut = text.firstIndex(of: "=") else {
            throw LayerError(
                .invalidArgument, "read the driver's options",
                cause: .reason("Unable to parse key/value option: \(text)"), hint: "write it as key=value")
        }
        key = Self.trimmed(text[..<cut]).lowercased()
        value = Self.trimmed(text[text.index(after: cut)...])
    }

    private static func trimmed(_ text: Substring) -> String {
        var text = text
        while let first = text.first, first.isWhitespace { text.removeFirst() }
        while let last = text.last, last.isWhitespace { text.removeLast() }
        return String(text)
    }

    /// The value as a truth value, spelled as Go's ParseBool takes it.
    public func boolean() throws(LayerError) -> Bool {
        switch value {
        case "1", "t", "T", "TRUE", "true", "True": return true
        case "0", "f", "F", "FALSE", "false", "False": return false
        default:
            throw LayerError(
                .invalidArgument, "read the option \(key)", cause: .reason("'\(value)' is neither true nor false"))
        }
    }

    /// The value as bytes: a number, a fraction allowed, with an optional k, m, g, t or p in powers of 1024.
    public func byteCount() throws(LayerError) -> UInt64 { try Self.byteCount(value) }

    /// See `byteCount()`; the form is `12`, `1.5g`, `20 MiB`.
    static func byteCount(_ text: String) throws(LayerError) -> UInt64 {
        func invalid() -> LayerError {
            LayerError(
                .invalidArgument, "read a size", cause: .reason("invalid size: '\(text)'"),
                hint: "write a number with an optional k, m, g, t or p")
        }
        var rest = Array(text.utf8)[...]
        if rest.last == UInt8(ascii: "b") || rest.last == UInt8(ascii: "B") { rest.removeLast() }
        if rest.last == UInt8(ascii: "i") || rest.last == UInt8(ascii: "I") { rest.removeLast() }
        var factor = 1.0
        let powers: [(UInt8, Double)] = [
            (UInt8(ascii: "k"), 1), (UInt8(ascii: "m"), 2), (UInt8(ascii: "g"), 3), (UInt8(ascii: "t"), 4),
            (UInt8(ascii: "p"), 5),
        ]
        if let last = rest.last, let power = powers.first(where: { $0.0 == last | 0x20 }) {
            rest.removeLast()
            for _ in 0..<Int(power.1) { factor *= 1024 }
        }
        if rest.last == UInt8(ascii: " ") { rest.removeLast() }
        // Digits, one point, digits: what a number of bytes may look like; no sign, no exponent.
        let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
        let parts = rest.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), parts.allSatisfy({ !$0.isEmpty && $0.allSatisfy(digits.contains) }),
            let number = Double(String(decoding: rest, as: UTF8.self)), number * factor < Double(Int64.max)
        else { throw invalid() }
        return UInt64(number * factor)
    }
}

extension DriverConfiguration {
    /// The options meant for the driver `name`, keys without their prefix: `overlay2.size=1G` gives `size`.
    ///
    /// Options with another driver's prefix are left out, so that one list fits whichever driver is picked. `.key` and a
    /// bare key count as this driver's own. Throws `invalidArgument` for what no driver knows.
    func options(for name: DriverName, alias: [String] = []) throws(LayerError) -> [DriverOption] {
        var own: [DriverOption] = []
        let others = DriverName.allCases.map(\.rawValue) + ["btrfs", "devicemapper", "vfs", "windowsfilter", "dm"]
        for text in options {
            var option = try DriverOption(parsing: text)
            guard let cut = option.key.firstIndex(of: ".") else {
                own.append(option)
                continue
            }
            let prefix = String(option.key[..<cut])
            if prefix.isEmpty || prefix == name.rawValue || alias.contains(prefix) {
                option.key = String(option.key[option.key.index(after: cut)...])
                own.append(option)
            } else if !others.contains(prefix) {
                throw Self.unknown(option.key, name)
            }
        }
        return own
    }

    /// The error for an option that does not exist.
    static func unknown(_ key: String, _ name: DriverName) -> LayerError {
        LayerError(
            .invalidArgument, "open the driver", cause: .reason("\(name.rawValue): unknown option \(key)"),
            hint: "see ldiff layer --help for the options of each driver")
    }
}
