/// A SHA-256 digest, the only kind that names layers here.
public struct Digest: Sendable, Hashable, BitwiseCopyable, CustomStringConvertible {
    /// The 32 bytes as four numbers, most significant byte first.
    private let words: InlineWords

    private struct InlineWords: Sendable, Hashable, BitwiseCopyable {
        var a: UInt64 = 0
        var b: UInt64 = 0
        var c: UInt64 = 0
        var d: UInt64 = 0
    }

    /// The digest with these 32 bytes, or nil for any other number of bytes.
    public init?(bytes: some Sequence<UInt8>) {
        var words: [UInt64] = [0, 0, 0, 0]
        var count = 0
        for byte in bytes {
            guard count < 32 else { return nil }
            words[count / 8] = words[count / 8] << 8 | UInt64(byte)
            count += 1
        }
        guard count == 32 else { return nil }
        self.words = InlineWords(a: words[0], b: words[1], c: words[2], d: words[3])
    }

    /// The 32 bytes.
    public var bytes: [UInt8] {
        [words.a, words.b, words.c, words.d].flatMap { word in
            stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: word >> UInt64($0)) }
        }
    }

    /// The digest that `sha256:` and 64 lower-case hexadecimal digits say; nil for anything else.
    ///
    /// Strict on purpose (V33): a digest becomes part of paths, and manifests are untrusted.
    public init?(parsing text: String) {
        let prefix = Array("sha256:".utf8)
        let characters = Array(text.utf8)
        guard characters.count == prefix.count + 64, characters.starts(with: prefix) else { return nil }
        var bytes: [UInt8] = []
        var high: UInt8?
        for character in characters.dropFirst(prefix.count) {
            let digit: UInt8
            switch character {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = character - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = character - UInt8(ascii: "a") + 10
            default: return nil
            }
            if let first = high {
                bytes.append(first << 4 | digit)
                high = nil
            } else {
                high = digit
            }
        }
        self.init(bytes: bytes)
    }

    /// As `init(parsing:)`, but throws `invalidArgument` naming what the text must look like.
    public init(validating text: String) throws(LayerError) {
        guard let digest = Digest(parsing: text) else {
            throw LayerError(
                .invalidArgument, "read the digest",
                cause: .reason("\"\(escapedText(Array(text.utf8.prefix(100))))\" is not a SHA-256 digest"),
                hint: "write sha256: and 64 hexadecimal digits, in lower case")
        }
        self = digest
    }

    /// The 64 hexadecimal digits, in lower case, without the algorithm.
    public var hexadecimal: String {
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        text.reserveCapacity(64)
        for word in [words.a, words.b, words.c, words.d] {
            for shift in stride(from: 60, through: 0, by: -4) {
                text.append(digits[Int(word >> UInt64(shift) & 15)])
            }
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// `sha256:` and the 64 hexadecimal digits.
    public var description: String { "sha256:" + hexadecimal }
}
