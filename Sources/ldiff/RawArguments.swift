import ArgumentParser
import LayerModel

/// The command line, byte for byte.
///
/// The argument parser takes Strings, and a file name need not be one. So each byte that is no UTF-8 becomes a
/// character of Unicode's last private block, U+10FF00 + byte, and goes back when a path is taken from the text. Names
/// that really hold such a character take the same way, byte by byte, so nothing is ambiguous.
enum RawArguments {
    private static let base: UInt32 = 0x10_FF00

    /// The arguments without the program's name.
    static func encoded() -> [String] {
        let arguments = CommandLine.unsafeArgv
        var result: [String] = []
        for index in 1..<max(1, Int(CommandLine.argc)) {
            guard let argument = arguments[index] else { continue }
            result.append(encode(UnsafeBufferPointer(start: argument, count: length(argument))))
        }
        return result
    }

    private static func length(_ text: UnsafePointer<CChar>) -> Int {
        var count = 0
        while text[count] != 0 { count += 1 }
        return count
    }

    private static func encode(_ text: UnsafeBufferPointer<CChar>) -> String {
        let bytes = text.map { UInt8(bitPattern: $0) }
        if let plain = String(validating: bytes, as: UTF8.self),
            !plain.unicodeScalars.contains(where: { $0.value >= base })
        {
            return plain
        }
        var result = ""
        var rest = bytes[...]
        while let first = rest.first {
            let length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4
            if let part = String(validating: rest.prefix(length), as: UTF8.self),
                part.unicodeScalars.allSatisfy({ $0.value < base })
            {
                result += part
                rest = rest.dropFirst(length)
            } else {
                if let stand = Unicode.Scalar(base + UInt32(first)) { result.unicodeScalars.append(stand) }
                rest = rest.dropFirst()
            }
        }
        return result
    }

    /// The bytes that an argument had.
    static func bytes(_ argument: String) -> [UInt8] {
        var result: [UInt8] = []
        for scalar in argument.unicodeScalars {
            if scalar.value >= base {
                result.append(UInt8(truncatingIfNeeded: scalar.value))
            } else {
                result.append(contentsOf: UTF8.encode(scalar).map { Array($0) } ?? [])
            }
        }
        return result
    }

    /// The parser's text about arguments, on one line and with every byte shown.
    static func shown(_ text: String) -> String { escapedText(bytes(oneLine(text))) }

    /// The text without line breaks, which no error line may have.
    static func oneLine(_ text: String) -> String {
        String(text.map { $0.isNewline ? " " : $0 })
    }
}

/// A path from the command line.
struct PathArgument: ExpressibleByArgument {
    var path: PathBytes

    init?(argument: String) {
        let bytes = RawArguments.bytes(argument)
        guard !bytes.isEmpty else { return nil }
        path = PathBytes(bytes)
    }

    /// Whether it is `-`, which stands for standard input or output.
    var isDash: Bool { path.bytes == [UInt8(ascii: "-")] }

    static var defaultCompletionKind: CompletionKind { .file() }
}
