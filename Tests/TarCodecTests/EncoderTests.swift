import TarCodec
import Testing

/// What one source must look like in its blocks.
struct EncoderCase: CustomTestStringConvertible, Sendable {
    let id: String
    let source: @Sendable () -> Source
    /// The PAX payload, or nil when there must be none.
    var records: String?
    /// The name of the PAX header.
    var metaName = ""
    /// Places in the last block that must hold these texts.
    var fields: [(start: Int, count: Int, text: String)] = []

    var testDescription: String { id }
}

private func repeated(_ text: String, _ count: Int) -> String { String(repeating: text, count: count) }
private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
private func record(_ key: String, _ value: String) -> String {
    var length = key.utf8.count + value.utf8.count + 3
    while String(length).count + key.utf8.count + value.utf8.count + 3 != length { length += 1 }
    return "\(length) \(key)=\(value)\n"
}

struct EncoderTests {
    static let cases: [EncoderCase] = [
        EncoderCase(
            id: "T005 directory", source: { Source("d/", type: TarType.directory, mode: 0o755) },
            fields: [(0, 100, "d/"), (100, 8, "0000755"), (124, 12, "00000000000"), (156, 1, "5")]),
        EncoderCase(
            id: "T005 directory with type bits",
            source: { Source("d/", type: TarType.directory, mode: 0o40755) }, fields: [(100, 8, "0040755")]),
        EncoderCase(
            id: "T006 symbolic link keeps its slash",
            source: {
                Source("l", type: TarType.symbolicLink, mode: 0o120777).with { $0.link = bytes("target/") }
            }, fields: [(100, 8, "0120777"), (156, 1, "2"), (157, 100, "target/")]),
        EncoderCase(
            id: "T007 all mode bits", source: { Source("f", mode: 0o7777) }, fields: [(100, 8, "0007777")]),
        EncoderCase(
            id: "T008 name of 100 bytes fills its field", source: { Source(repeated("n", 100)) },
            fields: [(0, 100, repeated("n", 100)), (100, 8, "0000644")]),
        EncoderCase(
            id: "T009 name of 101 bytes", source: { Source(repeated("n", 101)) },
            records: record("path", repeated("n", 101)), metaName: "PaxHeaders.0/" + repeated("n", 87),
            fields: [(0, 100, repeated("n", 100)), (345, 155, "")]),
        EncoderCase(
            id: "T011 longest prefix and name",
            source: { Source(repeated("p", 155) + "/" + repeated("s", 100)) },
            fields: [(0, 100, repeated("s", 100)), (345, 155, repeated("p", 155))]),
        EncoderCase(
            id: "T011 prefix of 156 bytes", source: { Source(repeated("p", 156) + "/s") },
            records: record("path", repeated("p", 156) + "/s"), metaName: repeated("p", 100),
            fields: [(0, 100, repeated("p", 100)), (345, 155, "")]),
        EncoderCase(
            id: "T012 directory whose only slash ends it",
            source: { Source(repeated("d", 100) + "/", type: TarType.directory, mode: 0o755) },
            records: record("path", repeated("d", 100) + "/"), metaName: repeated("d", 100),
            fields: [(0, 100, repeated("d", 100))]),
        EncoderCase(
            id: "T013 splittable name beside an attribute",
            source: {
                Source(repeated("p", 155) + "/" + repeated("s", 99)).with {
                    $0.attributes = [("security.capability", [1, 2])]
                }
            },
            records: record("SCHILY.xattr.security.capability", "\u{1}\u{2}")
                + record("path", repeated("p", 155) + "/" + repeated("s", 99)),
            metaName: repeated("p", 100), fields: [(0, 100, repeated("p", 100)), (345, 155, "")]),
        EncoderCase(
            id: "T014 cut right behind a slash",
            source: { Source(repeated("p", 99) + "/" + repeated("s", 101)) },
            records: record("path", repeated("p", 99) + "/" + repeated("s", 101)),
            metaName: repeated("p", 99), fields: [(0, 100, repeated("p", 99))]),
        EncoderCase(
            id: "T017 largest octal uid", source: { Source("f").with { $0.fields.uid = 2_097_151 } },
            fields: [(108, 8, "7777777")]),
        EncoderCase(
            id: "T017 uid beyond octal", source: { Source("f").with { $0.fields.uid = 2_097_152 } },
            records: record("uid", "2097152"), metaName: "PaxHeaders.0/f", fields: [(108, 8, "0000000")]),
        EncoderCase(
            id: "T018 gid before uid",
            source: {
                Source("f").with {
                    $0.fields.uid = -1
                    $0.fields.gid = 2_097_152
                }
            }, records: record("gid", "2097152") + record("uid", "-1"), metaName: "PaxHeaders.0/f",
            fields: [(108, 8, "0000000"), (116, 8, "0000000")]),
        EncoderCase(
            id: "T019 largest octal size", source: { Source("f").with { $0.fields.size = 8_589_934_591 } },
            fields: [(124, 12, "77777777777")]),
        EncoderCase(
            id: "T019 size beyond octal", source: { Source("f").with { $0.fields.size = 8_589_934_592 } },
            records: record("size", "8589934592"), metaName: "PaxHeaders.0/f", fields: [(124, 12, "00000000000")]),
        EncoderCase(
            id: "T020 part of a second is dropped",
            source: {
                Source("f", mtime: 1).with { $0.fields.mtimeNanoseconds = 999_000_000 }
            }, fields: [(136, 12, "00000000001")]),
        EncoderCase(
            id: "W11 part of a second is rounded",
            source: {
                Source("f", mtime: 1).with {
                    $0.fields.mtimeNanoseconds = 500_000_000
                    $0.format = .unspecified
                }
            }, fields: [(136, 12, "00000000002")]),
        EncoderCase(
            id: "T021 time before 1970",
            source: { Source("f", mtime: -2).with { $0.fields.mtimeNanoseconds = 500_000_000 } },
            records: record("mtime", "-2"), metaName: "PaxHeaders.0/f", fields: [(136, 12, "00000000000")]),
        EncoderCase(
            id: "T022 time beyond octal", source: { Source("f", mtime: 8_589_934_592) },
            records: record("mtime", "8589934592"), metaName: "PaxHeaders.0/f",
            fields: [(136, 12, "00000000000")]),
        EncoderCase(
            id: "T023 long link name",
            source: {
                Source("l", type: TarType.symbolicLink).with { $0.link = bytes(repeated("t", 101)) }
            }, records: record("linkpath", repeated("t", 101)), metaName: "PaxHeaders.0/l",
            fields: [(157, 100, repeated("t", 100))]),
        EncoderCase(
            id: "T024 link name beyond ASCII",
            source: { Source("l", type: TarType.symbolicLink).with { $0.link = bytes("né") } },
            records: record("linkpath", "né"), metaName: "PaxHeaders.0/l", fields: [(157, 100, "n")]),
        EncoderCase(
            id: "W4 owner names",
            source: {
                Source("f").with {
                    $0.user = bytes("ü")
                    $0.group = bytes(repeated("g", 33))
                }
            }, records: record("gname", repeated("g", 33)) + record("uname", "ü"), metaName: "PaxHeaders.0/f",
            fields: [(265, 32, ""), (297, 32, repeated("g", 32))]),
        EncoderCase(
            id: "T030 attributes sorted, their values raw",
            source: {
                Source("f").with {
                    $0.attributes = [("user.b", bytes("x=\n\0y")), ("user.a", []), ("user.ab", [0x7f])]
                }
            },
            records: record("SCHILY.xattr.user.a", "") + record("SCHILY.xattr.user.ab", "\u{7f}")
                + record("SCHILY.xattr.user.b", "x=\n\0y"), metaName: "PaxHeaders.0/f", fields: [(0, 100, "f")]),
        EncoderCase(
            id: "T040 largest device numbers",
            source: {
                Source("c", type: TarType.character).with {
                    $0.fields.deviceMajor = 4095
                    $0.fields.deviceMinor = 1_048_575
                }
            }, fields: [(156, 1, "3"), (329, 8, "0007777"), (337, 8, "3777777")]),
        EncoderCase(
            id: "W3 type NUL of a file", source: { Source("f", type: 0) }, fields: [(156, 1, "0")]),
        EncoderCase(
            id: "W3 type NUL of a directory", source: { Source("f/", type: 0) }, fields: [(156, 1, "5")]),
        EncoderCase(
            id: "W7 a PAX header's name is cleaned",
            source: { Source("/a/./b//../" + repeated("é", 3) + "x") },
            records: record("path", "/a/./b//../éééx"), metaName: "/a/PaxHeaders.0/x",
            fields: [(0, 100, "/a/./b//../x")]),
    ]

    @Test("header fields and records", arguments: cases)
    func fields(_ test: EncoderCase) throws {
        let blocks = try encode(test.source())
        let main = blocks.suffix(512)
        for field in test.fields {
            #expect(text(main, field.start, field.count) == field.text, "at \(field.start)")
        }
        #expect(isChecksumRight(main))
        guard let records = test.records else {
            #expect(blocks.count == 512)
            return
        }
        let payload = Array(records.utf8)
        #expect(blocks.count == 1024 + padded(payload).count)
        #expect(text(blocks[0...], 156, 1) == "x")
        #expect(text(blocks[0...], 0, 100) == test.metaName)
        #expect(Int(text(blocks[0...], 124, 12), radix: 8) == payload.count)
        #expect(isChecksumRight(blocks.prefix(512)))
        #expect(blocks[512..<blocks.count - 512].elementsEqual(padded(payload)))
        // W7: owner names, device numbers and prefix are NUL, not octal zeros.
        #expect(blocks[265..<512].allSatisfy { $0 == 0 })
    }

    private static let times: [(Int64, Int32)] = [
        (0, 1), (5, 999_999_999), (-1, 500_000_000), (-5, 1), (-7, 0), (fixedTime, 0), (fixedTime, 90),
    ]

    @Test(arguments: times)
    func `a time to the nanosecond comes back as it was`(seconds: Int64, nanoseconds: Int32) throws {
        var source = Source("f", mtime: seconds)
        source.fields.mtimeNanoseconds = nanoseconds
        #expect(try decode(archive([source])).entries.map(\.fields.mtimeNanoseconds) == [0])
        source.format = .exact
        let fields = try decode(archive([source])).entries.map(\.fields)
        #expect(fields.map(\.mtimeSeconds) == [seconds] && fields.map(\.mtimeNanoseconds) == [nanoseconds])
    }

    @Test("T016 a name of bytes that are not text")
    func rawName() throws {
        let blocks = try encode(Source(bytes: [0xff, 0xfe]))
        #expect(text(blocks[0...], 0, 100) == "PaxHeaders.0")
        #expect(blocks[512...].starts(with: Array("11 path=".utf8) + [0xff, 0xfe, 0x0a]))
        #expect(text(blocks.suffix(512), 0, 100) == "")
    }

    @Test("T025 a record counts its own digits", arguments: [24, 99, 100, 101, 999, 1000, 1001])
    func recordLength(_ near: Int) throws {
        // The record of an attribute `a` has 17 bytes beside its value and the digits of its length.
        for count in max(0, near - 24)...near {
            let value = [UInt8](repeating: 0x76, count: count)
            let blocks = try encode(Source("f").with { $0.attributes = [("a", value)] })
            let payload = Int(text(blocks[0...], 124, 12), radix: 8) ?? 0
            let digits = blocks[512...].prefix { $0 != 0x20 }
            #expect(Int(String(decoding: digits, as: UTF8.self)) == payload)
            #expect(payload == digits.count + 17 + count)
            #expect(blocks[512 + payload - 1] == 0x0a)
        }
    }

    @Test("W11 what PAX cannot say goes into a GNU header")
    func gnu() throws {
        let source = Source(repeated("n", 120), mode: 2_097_152).with {
            $0.format = .unspecified
            $0.link = Array(repeated("t", 101).utf8)
            $0.fields.uid = -2
        }
        let blocks = try encode(source)
        #expect(blocks.count == 5 * 512)
        #expect(text(blocks[0...], 0, 100) == "././@LongLink")
        #expect(text(blocks[0...], 156, 1) == "L")
        #expect(text(blocks[0...], 124, 12) == "00000000171")
        #expect(text(blocks[0...], 257, 8) == "ustar  ")
        #expect(text(blocks[512...], 0, 512) == repeated("n", 120))
        #expect(text(blocks[1024...], 156, 1) == "K")
        #expect(blocks[(4 * 512 + 100)...].starts(with: [0x80, 0, 0, 0, 0, 0x20, 0, 0]))
        #expect(blocks[(4 * 512 + 108)...].starts(with: [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]))
    }

    @Test("what no header can say is refused", arguments: refusals)
    func refused(_ test: Refusal) throws {
        #expect(throws: TarError(test.kind, test.reason)) { try encode(test.source()) }
    }

    @Test("an error uses up the attributes, and the next header is plain again")
    func afterError() throws {
        var encoder = TarEncoder()
        let bad = Source("f/").with { $0.attributes = [("user.x", [1])] }
        #expect(throws: TarError.self) { try encode(bad, with: &encoder) }
        #expect(encoder.blocks.byteCount == 0)
        #expect(try encode(Source("f"), with: &encoder) == encode(Source("f")))
    }

    @Test("W10 padding", arguments: [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511), (Int64.max, 1)])
    func padding(_ size: Int64, _ expected: Int) {
        #expect(TarEncoder.padding(after: size) == expected)
    }
}

struct Refusal: CustomTestStringConvertible, Sendable {
    let id: String
    let kind: TarError.Kind
    let reason: TarReason
    let source: @Sendable () -> Source

    var testDescription: String { id }
}

private let refusals: [Refusal] = [
    Refusal(id: "W3 file with a slash", kind: .cannotEncode, reason: .trailingSlash) { Source("f/") },
    Refusal(id: "W3 fifo with a slash", kind: .cannotEncode, reason: .trailingSlash) {
        Source("f/", type: TarType.fifo)
    },
    Refusal(id: "W3 a PAX header as an entry", kind: .cannotEncode, reason: .typeNotWritable) {
        Source("f", type: TarType.paxHeader)
    },
    Refusal(id: "W4 mode beyond octal", kind: .cannotEncode, reason: .numberTooLarge) {
        Source("f", mode: 2_097_152)
    },
    Refusal(id: "W4 device number beyond octal", kind: .cannotEncode, reason: .numberTooLarge) {
        Source("f").with { $0.fields.deviceMinor = 2_097_152 }
    },
    Refusal(id: "R8 negative size", kind: .cannotEncode, reason: .negativeNumber) {
        Source("f").with { $0.fields.size = -1 }
    },
    Refusal(id: "W8 NUL in the name", kind: .cannotEncode, reason: .nulInName) { Source("a\0b") },
    Refusal(id: "W8 NUL in the link name", kind: .cannotEncode, reason: .nulInName) {
        Source("l", type: TarType.symbolicLink).with { $0.link = [0] }
    },
    Refusal(id: "W8 attribute name with '='", kind: .cannotEncode, reason: .badAttributeName) {
        Source("f").with { $0.attributes = [("user.a=b", [])] }
    },
    Refusal(id: "W8 attribute without a name", kind: .cannotEncode, reason: .badAttributeName) {
        Source("f").with { $0.attributes = [("", [1])] }
    },
    Refusal(id: "W8 records beyond 1 MiB", kind: .fieldTooLong, reason: .recordsTooLong) {
        Source("f").with { $0.attributes = [("user.x", [UInt8](repeating: 1, count: 1 << 20))] }
    },
    Refusal(id: "W11 time that cannot be rounded up", kind: .cannotEncode, reason: .numberTooLarge) {
        Source("f", mtime: .max).with {
            $0.fields.mtimeNanoseconds = 999_999_999
            $0.format = .unspecified
        }
    },
]

/// Whether a block's checksum field is the unsigned sum of its bytes (W2).
func isChecksumRight(_ block: some Collection<UInt8>) -> Bool {
    var copy = Array(block)
    let stored = Array(copy[148..<156])
    copy.replaceSubrange(148..<156, with: repeatElement(0x20, count: 8))
    let digits = String(copy.reduce(0) { $0 + Int($1) }, radix: 8)
    return stored == Array((String(repeating: "0", count: 6 - digits.count) + digits).utf8) + [0, 0x20]
}
