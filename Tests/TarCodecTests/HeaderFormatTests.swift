import TarCodec
import Testing

/// Bytes of a numeric field and the number they stand for; nil when they are malformed.
struct NumberCase: CustomTestStringConvertible, Sendable {
    let field: [UInt8]
    let value: Int64?

    init(_ text: String, _ value: Int64?) {
        field = Array(text.utf8)
        self.value = value
    }

    init(_ bytes: [UInt8], _ value: Int64?) {
        field = bytes
        self.value = value
    }

    var testDescription: String { "\(field)" }
}

private let empty = RawArchive()

struct HeaderFormatTests {
    static let numbers: [NumberCase] = [
        NumberCase("0001750\0", 1000), NumberCase("   1750\0", 1000), NumberCase("1750 \0 \0", 1000),
        NumberCase("77777777", 0o77777777), NumberCase("\0\0\0\0\0\0\0\0", 0), NumberCase("        ", 0),
        NumberCase("12\0garba", 0o12), NumberCase("12      ", 0o12), NumberCase("\0 12\0 \0 ", 0o12),
        NumberCase("0000008\0", nil), NumberCase("-000001\0", nil), NumberCase("12 34  \0", nil),
        NumberCase("12 \0 34\0", nil), NumberCase("\0\0abc\0\0\0", nil), NumberCase("0x10\0\0\0\0", nil),
        NumberCase([0x80, 0, 0, 0, 0, 0x2d, 0xc6, 0xc0], 3_000_000),
        NumberCase([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], -1),
        NumberCase([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00], -256),
        NumberCase([0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 0xff_ffff_ffff_ffff),
        NumberCase([0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 0x3fff_ffff_ffff_ffff),
    ]

    @Test("R1 octal and base-256 fields", arguments: numbers)
    func number(_ test: NumberCase) {
        let reading = decode(empty.header("f") { $0.put(test.field, 108) }.bytes)
        #expect(reading.entries.first?.fields.uid == test.value)
        #expect(reading.error == (test.value == nil ? TarError(.invalidHeader, .badNumber) : nil))
    }

    @Test(
        "R1 base-256 numbers of 12 bytes, up to the largest",
        arguments: [
            ([0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Int64.max),
            ([0xff, 0xff, 0xff, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], Int64.min),
            ([0xff, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], nil),
            ([0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], nil),
            ([0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0], nil),
        ] as [([UInt8], Int64?)])
    func longNumber(_ field: [UInt8], _ value: Int64?) {
        let reading = decode(empty.header("f") { $0.put(field, 136) }.bytes)
        #expect(reading.entries.first?.fields.mtimeSeconds == value)
        #expect((reading.error == nil) == (value != nil))
    }

    @Test("R1 a signed checksum")
    func signedChecksum() {
        let block = empty.header("n\u{e9}") { $0[0] = 0xe9 }.bytes
        var signed = block
        signed.sign(signed: true)
        #expect(signed != block)
        #expect(decode(signed).entries.map(\.name) == decode(block).entries.map(\.name))
        #expect(decode(signed).error == nil)
    }

    @Test("R2 v7 has neither owner names nor prefix")
    func v7() {
        let entry = decode(
            empty.header("f", magic: .v7) {
                $0.put("user", 265)
                $0.put("junk", 329)
                $0.put("prefix", 345)
            }.bytes
        ).entries.first
        #expect(entry?.nameText == "f")
        #expect(entry?.user == [])
    }

    @Test("R2 ustar: a prefix is joined, all fields are read")
    func ustar() {
        let entry = decode(
            empty.header("name", type: "3", link: "link") {
                $0.put("0000010\0", 329)
                $0.put("0000012\0", 337)
                $0.put("user", 265)
                $0.put("group", 297)
                $0.put(String(repeating: "p", count: 155), 345)
            }.bytes
        ).entries.first
        #expect(entry?.nameText == String(repeating: "p", count: 155) + "/name")
        #expect(entry?.linkText == "link")
        #expect(entry?.user == Array("user".utf8))
        #expect(entry?.group == Array("group".utf8))
        #expect(entry?.fields.deviceMajor == 8)
        #expect(entry?.fields.deviceMinor == 10)
        #expect(entry?.fields.mode == 0o644)
        #expect(entry?.fields.mtimeSeconds == fixedTime)
    }

    @Test("R2 star: a shorter prefix and an access time")
    func star() {
        let entry = decode(
            empty.header("name", magic: .star) {
                $0.put(String(repeating: "p", count: 131), 345)
                $0.put("14524770400 14524770400 ", 476)
            }.bytes
        ).entries.first
        #expect(entry?.nameText == String(repeating: "p", count: 131) + "/name")
        #expect(entry?.accessTime == [fixedTime, 0])
    }

    @Test("R1 star: bad times", arguments: [476, 488])
    func starTimes(_ place: Int) {
        let reading = decode(empty.header("name", magic: .star) { $0.put("9", place) }.bytes)
        #expect(reading.error == TarError(.invalidHeader, .badNumber))
    }

    @Test("R2 GNU: an access time instead of a prefix")
    func gnu() {
        let entry = decode(
            empty.header("name", magic: .gnu) { $0.put("14524770400\u{0}14524770400\u{0}", 345) }.bytes
        ).entries.first
        #expect(entry?.nameText == "name")
        #expect(entry?.accessTime == [fixedTime, 0])
    }

    @Test("T221 R3 GNU magic with a ustar prefix of old Go writers")
    func goPrefix() {
        let prefix = String(repeating: "a", count: 97)
        let reading = decode(empty.header("foo", magic: .gnu) { $0.put(prefix, 345) }.bytes)
        #expect(reading.entries.map(\.nameText) == [prefix + "/foo"])
        #expect(reading.entries.first?.accessTime == [])
    }

    @Test("R3 GNU times that are neither numbers nor ASCII are ignored")
    func gnuJunk() {
        let reading = decode(empty.header("foo", magic: .gnu) { $0.put([0x61, 0xff, 0xff], 345) }.bytes)
        #expect(reading.entries.map(\.nameText) == ["foo"])
        #expect(reading.error == nil)
    }

    @Test("T222 GNU magic, a ustar prefix and star times at once")
    func conflict() {
        let reading = decode(
            empty.header("file", magic: .gnu) {
                $0.put("some/directory", 345)
                $0.put("14524770400 14524770400 ", 476)
                $0.put("tar\0", 508)
            }.bytes)
        #expect(reading.entries.map(\.nameText) == ["some/directory/file"])
        #expect(reading.error == nil)
    }

    @Test("R2 a name and a link that fill their fields")
    func fullFields() {
        let name = String(repeating: "n", count: 100)
        let link = String(repeating: "l", count: 100)
        let entry = decode(empty.header(name, type: "2", link: link).bytes).entries.first
        #expect(entry?.nameText == name)
        #expect(entry?.linkText == link)
    }
}
