import TarCodec

/// Builds archives byte by byte, also such as no encoder would write.
struct RawArchive: Sendable {
    enum Magic: Sendable { case v7, ustar, gnu, star }

    var bytes: [UInt8] = []

    /// A header of plain numbers; `change` may then put anything anywhere. The checksum is made right last.
    func header(
        _ name: String, type: Character = "0", size: Int64 = 0, link: String = "", magic: Magic = .ustar,
        change: (inout [UInt8]) -> Void = { _ in }
    ) -> RawArchive {
        var block = [UInt8](repeating: 0, count: 512)
        block.put(name, 0)
        block.put("0000644\0", 100)
        block.put("0000000\0", 108)
        block.put("0000000\0", 116)
        block.put(size < 0o77777777777 ? octal(size, 11) : "77777777777", 124)
        block.put("14524770400\0", 136)
        block[156] = type == "\0" ? 0 : type.asciiValue ?? 0
        block.put(link, 157)
        switch magic {
        case .v7: break
        case .ustar: block.put("ustar\u{0}00", 257)
        case .gnu: block.put("ustar  \u{0}", 257)
        case .star:
            block.put("ustar\u{0}00", 257)
            block.put("tar\u{0}", 508)
        }
        change(&block)
        block.sign()
        return appending(block)
    }

    func appending(_ more: [UInt8]) -> RawArchive { RawArchive(bytes: bytes + more) }

    /// A body with the zeros behind it.
    func body(_ text: String) -> RawArchive { appending(padded(Array(text.utf8))) }

    /// A meta entry of any type with its payload.
    func meta(_ type: Character, _ payload: [UInt8], magic: Magic = .ustar) -> RawArchive {
        header("meta", type: type, size: Int64(payload.count), magic: magic).appending(padded(payload))
    }

    /// A PAX header with these records.
    func pax(_ records: [(String, String)], type: Character = "x") -> RawArchive {
        meta(type, records.flatMap { paxRecord($0.0, Array($0.1.utf8)) })
    }

    /// A regular file.
    func file(_ name: String, _ body: String) -> RawArchive {
        header(name, size: Int64(body.utf8.count)).body(body)
    }

    func end(blocks: Int = 2) -> RawArchive { appending([UInt8](repeating: 0, count: 512 * blocks)) }
}

/// A PAX record with its right length.
func paxRecord(_ key: String, _ value: [UInt8]) -> [UInt8] {
    let rest = Array(" \(key)=".utf8) + value + [0x0a]
    var length = rest.count
    while String(length).utf8.count + rest.count != length { length += 1 }
    return Array(String(length).utf8) + rest
}

func octal(_ value: Int64, _ width: Int) -> String {
    let digits = String(value, radix: 8)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
}

extension [UInt8] {
    mutating func put(_ text: String, _ start: Int) { put(Array(text.utf8), start) }

    mutating func put(_ bytes: [UInt8], _ start: Int) {
        for (index, byte) in bytes.enumerated() { self[start + index] = byte }
    }

    /// Makes the block's checksum right; of the signed kind on request (R1).
    mutating func sign(signed: Bool = false) {
        put("        ", 148)
        let sum = reduce(0) { $0 + (signed ? Int(Int8(bitPattern: $1)) : Int($1)) }
        put(octal(Int64(sum), 6) + "\0 ", 148)
    }
}
