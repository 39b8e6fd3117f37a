import LayerDrivers
import LayerModel

/// What Docker keeps of one container: a JSON object that names the driver of the container's layers.
///
/// Only that name is written anew: every other byte stays as Docker wrote it.
struct ContainerRecord {
    private let bytes: [UInt8]
    private let value: Range<Int>

    /// The driver that holds the container's layers.
    var driver: String { String(decoding: bytes[value], as: UTF8.self) }

    /// The record with another driver's name.
    func moved(to driver: DriverName) -> [UInt8] {
        Array(bytes[..<value.lowerBound]) + Array(driver.rawValue.utf8) + Array(bytes[value.upperBound...])
    }

    /// Finds the member `Driver` of the outermost object; nil where there is none, or no JSON object.
    init?(_ bytes: [UInt8]) {
        var scanner = Scanner(bytes: bytes)
        guard let value = scanner.member("Driver") else { return nil }
        self.bytes = bytes
        self.value = value
    }

    private struct Scanner {
        let bytes: [UInt8]
        private var at = 0

        init(bytes: [UInt8]) { self.bytes = bytes }

        private static let (quote, backslash) = (UInt8(ascii: "\""), UInt8(ascii: "\\"))

        /// The text of a member of the outermost object, without its quotes.
        mutating func member(_ name: String) -> Range<Int>? {
            var depth = 0
            while at < bytes.count {
                let byte = bytes[at]
                if byte == Self.quote {
                    guard let text = string() else { return nil }
                    guard depth == 1, bytes[text].elementsEqual(name.utf8), skipBlanks() == UInt8(ascii: ":") else {
                        continue
                    }
                    at += 1
                    return skipBlanks() == Self.quote ? string() : nil
                }
                if byte == UInt8(ascii: "{") || byte == UInt8(ascii: "[") { depth += 1 }
                if byte == UInt8(ascii: "}") || byte == UInt8(ascii: "]") { depth -= 1 }
                at += 1
            }
            return nil
        }

        /// The string that begins here, passed over; nil where it does not end.
        private mutating func string() -> Range<Int>? {
            let start = at + 1
            at = start
            while at < bytes.count {
                if bytes[at] == Self.quote {
                    at += 1
                    return start..<at - 1
                }
                at += bytes[at] == Self.backslash ? 2 : 1
            }
            return nil
        }

        /// The next byte that is no blank.
        private mutating func skipBlanks() -> UInt8? {
            while at < bytes.count, [0x20, 0x09, 0x0a, 0x0d].contains(bytes[at]) { at += 1 }
            return at < bytes.count ? bytes[at] : nil
        }
    }
}
