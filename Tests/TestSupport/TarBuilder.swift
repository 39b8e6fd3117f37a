// The letters are the cases' notation, see TheRules of the documentation.
// swift-format-ignore-file: AlwaysUseLowerCamelCase

/// One piece of an archive: an entry with its extended header, or raw bytes.
///
/// The letters are the cases' notation. The blocks are made here, not by TarEncoder, so that a
/// test can say what no encoder would.
package struct TarPiece: Sendable {
    package var type: UInt8
    package var name: [UInt8]
    package var link: [UInt8] = []
    package var body: [UInt8] = []
    package var mode: Int64 = 0o644
    package var uid: Int64 = 0
    package var gid: Int64 = 0
    package var mtime: Int64 = TarPiece.time
    package var major: Int64 = 0
    package var minor: Int64 = 0
    /// The size in the header where it is not the body's.
    package var claimedSize: Int64?
    /// Records of the extended header in front, in order.
    package var records: [(key: String, value: [UInt8])] = []
    /// Bytes that stand for the whole piece.
    package var raw: [UInt8]?

    /// The time of every entry that names none.
    package static let time: Int64 = 1_700_000_000

    package init(_ type: Character, _ name: String) {
        self.type = type.asciiValue ?? 0
        self.name = Array(name.utf8)
    }

    package func ids(_ uid: Int64, _ gid: Int64) -> TarPiece {
        with {
            $0.uid = uid; $0.gid = gid
        }
    }
    package func time(_ seconds: Int64) -> TarPiece { with { $0.mtime = seconds } }
    package func size(_ size: Int64) -> TarPiece { with { $0.claimedSize = size } }
    package func body(_ text: String) -> TarPiece { with { $0.body = Array(text.utf8) } }
    package func type(_ byte: UInt8) -> TarPiece { with { $0.type = byte } }

    /// Adds records of an extended header (`X{k=v}`).
    package func pax(_ key: String, _ value: String) -> TarPiece { pax(key, Array(value.utf8)) }
    package func pax(_ key: String, _ value: [UInt8]) -> TarPiece { with { $0.records.append((key, value)) } }

    /// Adds an extended attribute as `SCHILY.xattr.`.
    package func xattr(_ name: String, _ value: String) -> TarPiece { pax("SCHILY.xattr." + name, value) }
    package func xattr(_ name: String, _ value: [UInt8]) -> TarPiece { pax("SCHILY.xattr." + name, value) }

    package func with(_ change: (inout TarPiece) -> Void) -> TarPiece {
        var copy = self
        change(&copy)
        return copy
    }
}

/// A directory.
package func D(_ name: String, _ mode: Int64 = 0o755) -> TarPiece { piece("5", name, mode) }
/// A regular file.
package func F(_ name: String, _ body: String = "", _ mode: Int64 = 0o644) -> TarPiece {
    piece("0", name, mode).body(body)
}
/// A regular file with any bytes.
package func F(_ name: String, bytes: [UInt8], _ mode: Int64 = 0o644) -> TarPiece {
    var result = piece("0", name, mode)
    result.body = bytes
    return result
}
/// A symbolic link.
package func S(_ name: String, _ target: String) -> TarPiece { piece("2", name, 0o777, link: target) }
/// A hard link.
package func H(_ name: String, _ target: String) -> TarPiece { piece("1", name, 0o644, link: target) }
/// A whiteout: an empty file of that name.
package func W(_ name: String) -> TarPiece { piece("0", name, 0o600) }
package func C(_ name: String, _ major: Int64, _ minor: Int64, _ mode: Int64 = 0o644) -> TarPiece {
    var result = piece("3", name, mode)
    (result.major, result.minor) = (major, minor)
    return result
}
package func B(_ name: String, _ major: Int64, _ minor: Int64, _ mode: Int64 = 0o644) -> TarPiece {
    var result = C(name, major, minor, mode)
    result.type = UInt8(ascii: "4")
    return result
}
/// A FIFO.
package func P(_ name: String, _ mode: Int64 = 0o644) -> TarPiece { piece("6", name, mode) }
/// A global extended header of that name.
package func G(_ name: String) -> TarPiece {
    var result = piece("g", name, 0o644)
    result.body = Tar.record("comment", Array("x".utf8))
    return result
}
/// Bytes as they are, instead of an entry.
package func raw(_ bytes: [UInt8]) -> TarPiece {
    var result = TarPiece("0", "")
    result.raw = bytes
    return result
}

private func piece(_ type: Character, _ name: String, _ mode: Int64, link: String = "") -> TarPiece {
    var result = TarPiece(type, name)
    result.mode = mode
    result.link = Array(link.utf8)
    return result
}

/// Puts archives together.
package enum Tar {
    /// The archive of `pieces`, with its two zero blocks unless `ends` is false.
    package static func archive(_ pieces: [TarPiece], ends: Bool = true) -> [UInt8] {
        var bytes: [UInt8] = []
        for piece in pieces { bytes += encode(piece) }
        return ends ? bytes + [UInt8](repeating: 0, count: 1024) : bytes
    }

    /// One entry's blocks. Names too long for the header go into an extended header.
    package static func encode(_ piece: TarPiece) -> [UInt8] {
        if let raw = piece.raw { return raw }
        var records = piece.records
        if piece.name.count > 100 { records.insert(("path", piece.name), at: 0) }
        if piece.link.count > 100 { records.insert(("linkpath", piece.link), at: 0) }
        var bytes: [UInt8] = []
        if !records.isEmpty {
            var payload: [UInt8] = []
            for (key, value) in records { payload += record(key, value) }
            var extended = TarPiece("x", "PaxHeaders.0/x")
            extended.body = payload
            bytes += header(extended) + padded(payload)
        }
        return bytes + header(piece) + padded(piece.body)
    }

    /// One record of an extended header, with its own length in front.
    package static func record(_ key: String, _ value: [UInt8]) -> [UInt8] {
        let rest = Array(" \(key)=".utf8) + value + [UInt8(ascii: "\n")]
        var length = rest.count + 1
        while String(length).utf8.count + rest.count != length { length = String(length).utf8.count + rest.count }
        return Array(String(length).utf8) + rest
    }

    /// A 512-byte ustar header.
    package static func header(_ piece: TarPiece) -> [UInt8] {
        var block = [UInt8](repeating: 0, count: 512)
        func put(_ bytes: [UInt8], _ start: Int, _ count: Int) {
            for (index, byte) in bytes.prefix(count).enumerated() { block[start + index] = byte }
        }
        put(piece.name, 0, 100)
        put(number(piece.mode, 8), 100, 8)
        put(number(piece.uid, 8), 108, 8)
        put(number(piece.gid, 8), 116, 8)
        put(number(piece.claimedSize ?? Int64(piece.body.count), 12), 124, 12)
        put(number(piece.mtime, 12), 136, 12)
        block[156] = piece.type
        put(piece.link, 157, 100)
        put(Array("ustar".utf8) + [0] + Array("00".utf8), 257, 8)
        put(number(piece.major, 8), 329, 8)
        put(number(piece.minor, 8), 337, 8)
        seal(&block)
        return block
    }

    /// Sets the checksum of a header.
    package static func seal(_ block: inout [UInt8]) {
        for index in 148..<156 { block[index] = UInt8(ascii: " ") }
        let sum = block.reduce(0) { $0 + Int($1) }
        let digits = Array(String(sum, radix: 8).utf8)
        let text = [UInt8](repeating: UInt8(ascii: "0"), count: 6 - digits.count) + digits + [0, UInt8(ascii: " ")]
        for (index, byte) in text.enumerated() { block[148 + index] = byte }
    }

    /// A number as octal digits, or in base 256 where those do not suffice.
    package static func number(_ value: Int64, _ width: Int) -> [UInt8] {
        let digits = Array(String(max(value, 0), radix: 8).utf8)
        if value >= 0, digits.count < width {
            return [UInt8](repeating: UInt8(ascii: "0"), count: width - 1 - digits.count) + digits + [0]
        }
        var bytes = [UInt8](repeating: value < 0 ? 0xff : 0, count: width)
        for index in 0..<min(8, width) { bytes[width - 1 - index] = UInt8(truncatingIfNeeded: value >> (8 * index)) }
        bytes[0] = value < 0 ? 0xff : bytes[0] | 0x80
        return bytes
    }

    package static func padded(_ bytes: [UInt8]) -> [UInt8] {
        bytes + [UInt8](repeating: 0, count: (512 - bytes.count % 512) % 512)
    }
}
