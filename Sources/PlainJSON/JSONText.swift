import LayerModel

/// A string of JSON where it stands, without its quotes; escapes are undone when somebody looks.
public struct JSONText: ~Escapable {
    /// The string as it stands.
    public let raw: RawSpan
    /// Whether it stands for something else than its bytes.
    public let hasEscapes: Bool

    @_lifetime(copy raw)
    init(_ raw: RawSpan, hasEscapes: Bool) {
        self.raw = raw
        self.hasEscapes = hasEscapes
    }

    /// Appends what the string says, as UTF-8.
    public func append(to target: inout [UInt8]) {
        guard hasEscapes else { return appendBytes(raw, to: &target) }
        target.reserveCapacity(target.count + raw.byteCount)
        visit { target.append($0) }
    }

    /// What the string says, as UTF-8.
    public func copied() -> [UInt8] {
        guard hasEscapes else { return raw.copied() }
        var result: [UInt8] = []
        append(to: &result)
        return result
    }

    /// The string.
    public var string: String { String(decoding: copied(), as: UTF8.self) }

    /// Whether it says that ASCII text.
    public func equals(_ text: StaticString) -> Bool {
        guard hasEscapes else { return bytes(raw, equal: text) }
        var count = 0
        var isEqual = true
        visit { byte in
            isEqual = isEqual && count < text.utf8CodeUnitCount && asciiByte(text, count) == byte
            count += 1
        }
        return isEqual && count == text.utf8CodeUnitCount
    }

    /// A number that is equal for equal texts.
    var hash: UInt64 {
        var state: UInt64 = 0xcbf2_9ce4_8422_2325
        func mix(_ byte: UInt8) {
            let (high, low) = (state ^ UInt64(byte)).multipliedFullWidth(by: 0x9e37_79b9_7f4a_7c15)
            state = high ^ low &+ 0x632b_e59b_d9b4_e019
        }
        if hasEscapes {
            visit(mix)
        } else {
            for index in 0..<raw.byteCount { mix(raw[index]) }
        }
        return state
    }

    /// Calls `body` with each byte that the string says. The reader has looked at every escape.
    private func visit(_ body: (UInt8) -> Void) {
        var index = 0
        while index < raw.byteCount {
            let byte = raw[index]
            guard byte == UInt8(ascii: "\\"), index + 1 < raw.byteCount else {
                body(byte)
                index += 1
                continue
            }
            let letter = raw[index + 1]
            index += 2
            switch letter {
            case UInt8(ascii: "b"): body(0x08)
            case UInt8(ascii: "f"): body(0x0c)
            case UInt8(ascii: "n"): body(0x0a)
            case UInt8(ascii: "r"): body(0x0d)
            case UInt8(ascii: "t"): body(0x09)
            case UInt8(ascii: "u"):
                let scalar = scalar(&index)
                for byte in UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter { body(byte) }
            default: body(letter)
            }
        }
    }

    /// The character of the escape whose digits begin at `index`, and of the escape behind it where the two are a pair.
    private func scalar(_ index: inout Int) -> Unicode.Scalar {
        let first = unit(index)
        index += 4
        guard (0xd800..<0xdc00).contains(first) else { return Unicode.Scalar(first) ?? "\u{fffd}" }
        guard index + 6 <= raw.byteCount, raw[index] == UInt8(ascii: "\\"), raw[index + 1] == UInt8(ascii: "u") else {
            return "\u{fffd}"
        }
        let second = unit(index + 2)
        guard (0xdc00..<0xe000).contains(second) else { return "\u{fffd}" }
        index += 6
        return Unicode.Scalar(0x10000 + (first - 0xd800) << 10 + (second - 0xdc00)) ?? "\u{fffd}"
    }

    private func unit(_ index: Int) -> UInt32 {
        var value: UInt32 = 0
        for offset in 0..<4 where index + offset < raw.byteCount {
            value = value << 4 | UInt32(hexadecimalValue(raw[index + offset]) ?? 0)
        }
        return value
    }
}

/// The value of a hexadecimal digit of either case.
func hexadecimalValue(_ digit: UInt8) -> UInt8? {
    switch digit {
    case 0x30...0x39: digit - 0x30
    case 0x41...0x46: digit - 0x41 + 10
    case 0x61...0x66: digit - 0x61 + 10
    default: nil
    }
}

/// The names of the objects that are being read, to find one that comes twice.
///
/// Equal names have equal hashes, so none is missed; that two different names of one object share 64 bits does not happen
/// but on purpose, and refuses the text of whoever did it.
struct JSONNames {
    private var hashes: [UInt64] = []
    private var starts: [Int] = []
    /// Up to so many names of an object are compared with each new one, more are sorted at its end.
    private static let few = 32

    mutating func begin() { starts.append(hashes.count) }

    /// False for a name that the innermost object has already.
    mutating func add(_ name: borrowing JSONText) -> Bool {
        let hash = name.hash
        let start = starts.last ?? 0
        if hashes.count - start < Self.few, hashes[start...].contains(hash) { return false }
        hashes.append(hash)
        return true
    }

    /// False if the innermost object, which ends, has a name twice.
    mutating func end() -> Bool {
        guard let start = starts.popLast() else { return true }
        defer { hashes.removeSubrange(start...) }
        guard hashes.count - start > Self.few else { return true }
        hashes[start...].sort()
        return !zip(hashes[start...], hashes[(start + 1)...]).contains { $0 == $1 }
    }
}
