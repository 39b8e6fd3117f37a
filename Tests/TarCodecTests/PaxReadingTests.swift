import TarCodec
import Testing

private let empty = RawArchive()

struct PaxReadingTests {
    /// A time record and the seconds and nanoseconds it means; empty when it is malformed.
    static let times: [(String, [Int64])] = [
        ("1.123456789", [1, 123_456_789]), ("1", [1, 0]), ("1.", [1, 0]), ("0.5", [0, 500_000_000]),
        ("1.1234567899", [1, 123_456_789]), ("-5", [-5, 0]), ("-1.5", [-2, 500_000_000]),
        ("-0.000000001", [-1, 999_999_999]), ("17179869184", [17_179_869_184, 0]),
        ("9223372036854775807.9", [.max, 900_000_000]), ("-9223372036854775808", [.min, 0]),
        ("-9223372036854775808.5", []), ("9223372036854775808", []), ("1.5x", []), ("x", []), (".5", []),
        ("1.-5", []), ("-", []), ("1 ", []),
    ]

    @Test("T105 R5 times", arguments: times)
    func time(_ text: String, _ expected: [Int64]) {
        let reading = decode(empty.pax([("mtime", text), ("atime", text)]).file("f", "").bytes)
        let fields = reading.entries.first?.fields
        #expect(fields.map { [$0.mtimeSeconds, Int64($0.mtimeNanoseconds)] } ?? [] == expected)
        #expect(reading.entries.first?.accessTime ?? [] == expected)
        let error = TarError(.invalidHeader, .badPaxTime, offset: 1024)
        #expect(reading.error == (expected.isEmpty ? error : nil))
    }

    @Test("R5 a bad change time")
    func changeTime() {
        let bad = decode(empty.pax([("ctime", "now")]).file("f", "").bytes)
        #expect(bad.error == TarError(.invalidHeader, .badPaxTime, offset: 1024))
        #expect(decode(empty.pax([("ctime", "1.5")]).file("f", "").bytes).error == nil)
    }

    @Test("R5 names, owners and size")
    func values() {
        let records = [
            ("path", "p\u{e9}/\n="), ("linkpath", "to"), ("uname", "u"), ("gname", "g"), ("uid", "4294967296"),
            ("gid", "-3"), ("size", "4"), ("comment", "ignored"),
        ]
        let entry = decode(empty.pax(records).header("f").body("body").bytes).entries.first
        #expect(entry?.nameText == "p\u{e9}/\n=")
        #expect(entry?.linkText == "to")
        #expect(entry?.user == Array("u".utf8))
        #expect(entry?.group == Array("g".utf8))
        #expect(entry?.fields.uid == 4_294_967_296)
        #expect(entry?.fields.gid == -3)
        #expect(entry?.bodyText == "body")
    }

    @Test("R4 records apply to one entry only")
    func once() {
        let archive = empty.pax([("uid", "5"), ("path", "p"), ("SCHILY.xattr.user.x", "v"), ("atime", "1")])
            .file("a", "").file("b", "")
        let entries = decode(archive.bytes).entries
        #expect(entries.map(\.nameText) == ["p", "b"])
        #expect(entries.map(\.fields.uid) == [5, 0])
        #expect(entries.map(\.attributes.count) == [2, 0])
        #expect(entries.map(\.accessTime) == [[1, 0], []])
    }

    /// Payloads that are no records.
    static let malformed: [String] = [
        "x", " ", "5", "5 ", "0 a=b\n", "6 a=b\n\n", "7 a=b\n", "6 ab\n\n", "6 =ab\n", "6 a=bc", "4 a=\n",
        "-6 a=b\n", "+6 a=b\n", "99999999999999999999999 a=b\n", "6 a=b\n6 a=b", "6 a=b\nx", "6\ta=b\n",
        "7 a\0=b\n", "6 a=b\n\0\0",
    ]

    @Test("R5 malformed payloads", arguments: malformed)
    func malformedPayload(_ payload: String) {
        let reading = decode(empty.meta("x", Array(payload.utf8)).file("f", "").bytes)
        #expect(reading.error == TarError(.invalidHeader, .badPaxRecord))
        #expect(reading.entries.isEmpty)
    }

    @Test("T117 R10 the sources of attributes")
    func attributes() {
        let records = [
            ("LIBARCHIVE.xattr.user.both", "bGlicmFyeQ"), ("SCHILY.xattr.user.both", "star"),
            ("LIBARCHIVE.xattr.user.%6Fnly%3d", "AP8="), ("SCHILY.xattr.user.empty", ""),
            ("SCHILY.xattr.user.twice", "1"), ("SCHILY.xattr.user.twice", "a=\n\0b"),
            ("RHT.security.selinux", "ignored"), ("SCHILY.acl.access", "user::rwx"),
            ("SCHILY.acl.default", "user::r--"),
        ]
        let entry = decode(empty.pax(records).file("f", "").bytes).entries.first
        let expected: [[UInt8]] = [
            Array("user.both".utf8), Array("star".utf8), Array("user.empty".utf8), [],
            Array("user.only=".utf8), [0, 0xff], Array("user.twice".utf8), Array("a=\n\0b".utf8),
        ]
        #expect(entry?.attributes == expected)
        #expect(entry?.acls == [Array("user::rwx".utf8), Array("user::r--".utf8)])
    }

    @Test(
        "R10 attributes that are not well encoded",
        arguments: [
            ("LIBARCHIVE.xattr.user.x", "A"), ("LIBARCHIVE.xattr.user.x", "AA=A"), ("LIBARCHIVE.xattr.user.x", "A*=="),
            ("LIBARCHIVE.xattr.user.%", "AAAA"), ("LIBARCHIVE.xattr.user.%0", "AAAA"),
            ("LIBARCHIVE.xattr.user.%00", "AAAA"), ("LIBARCHIVE.xattr.user.%zz", "AAAA"), ("LIBARCHIVE.xattr.", "AAAA"),
        ])
    func badAttributes(_ key: String, _ value: String) {
        let reading = decode(empty.pax([(key, value)]).file("f", "").bytes)
        #expect(reading.error == TarError(.invalidHeader, .badAttributeEncoding))
    }

    @Test("V15 many attributes in one payload take little time")
    func manyAttributes() {
        let payload = (0..<30_000).flatMap { paxRecord("SCHILY.xattr.user.\($0 % 20_000)", [0x76]) }
        #expect(payload.count < 1 << 20)
        let reading = decode(empty.meta("x", payload).file("f", "").bytes)
        #expect(reading.entries.first?.attributes.count == 40_000)
    }

    @Test("R4 K beside L, both cut at their NUL, over PAX linkpath")
    func longLink() {
        let archive = empty.meta("K", Array("to\0x".utf8), magic: .gnu).meta("L", Array("from\0".utf8), magic: .gnu)
            .pax([("linkpath", "pax")]).header("f", type: "2", link: "short")
        let entry = decode(archive.bytes).entries.first
        #expect(entry?.nameText == "from")
        #expect(entry?.linkText == "to")
    }

    @Test("R7 type NUL looks at the final name")
    func nulType() {
        let archive = empty.pax([("path", "d/")]).header("f", type: "\0")
        #expect(decode(archive.bytes).entries.map(\.fields.type) == [TarType.directory])
    }
}
