import LayerModel
import PlainJSON
import Testing

private func value(_ text: String, depth: Int = 64, refusing: Bool = false) throws(JSONError) -> JSONValue {
    let bytes = Array(text.utf8)
    return try JSONValue(bytes.rawBytes, limits: JSONLimits(depth: depth, refusesRepeatedNames: refusing))
}

private func failure(_ bytes: [UInt8], refusing: Bool = false) -> JSONError? {
    do throws(JSONError) {
        _ = try JSONValue(bytes.rawBytes, limits: JSONLimits(refusesRepeatedNames: refusing))
        return nil
    } catch {
        return error
    }
}

@Suite struct ReaderTests {
    @Test(arguments: [
        (#"{"a":[1,-2.5e3,true,false,null,"x"],"b":{}}"#, #"{"a":[1,-2.5e3,true,false,null,"x"],"b":{}}"#),
        (" [ ] \n", "[]"), ("\t{ \"a\" :\r\n1 ,\n  \"b\":2}", #"{"a":1,"b":2}"#), ("0", "0"), ("-0.0", "-0.0"),
        (#""\u0041\ud83d\ude00\/\b\f\n\r\t\\\"""#, #""A😀/\u0008\u000c\u000a\u000d\u0009\\\"""#),
        (#""\ud83dx\ude00""#, "\"\u{fffd}x\u{fffd}\""), (#""\ud83d\u0041""#, "\"\u{fffd}A\""),
        (#"123456789012345678901234567890"#, "123456789012345678901234567890"),
        (#"{"é":"e\u0301"}"#, "{\"é\":\"e\u{301}\"}"),
    ])
    func `reads what the rule allows`(text: String, same: String) throws {
        #expect(String(decoding: try value(text).bytes(), as: UTF8.self).utf8.elementsEqual(same.utf8))
    }

    @Test(arguments: [
        ("", JSONError.Reason.endOfText, 0), ("[1", .endOfText, 2), (#""abc"#, .endOfText, 4),
        (#""\u12"#, .endOfText, 1),
        ("[1 2]", .unexpectedByte, 3), ("[1,]", .unexpectedByte, 3), ("{,}", .unexpectedByte, 1),
        ("{1:2}", .wanted(.string), 1),
        (#"{"a" 1}"#, .unexpectedByte, 5), (#"{"a":1,}"#, .unexpectedByte, 7), ("tru", .endOfText, 3),
        ("nul1", .unexpectedByte, 3),
        ("truee", .unexpectedByte, 4), ("01", .badNumber, 1), ("1.", .badNumber, 2), ("-", .badNumber, 1),
        (".5", .unexpectedByte, 0), ("1e", .badNumber, 2), ("+1", .unexpectedByte, 0), ("1x", .badNumber, 1),
        ("\"a\nb\"", .controlInString, 2), (#""\x""#, .badEscape, 1), (#""\u00g0""#, .badEscape, 1),
        ("1 1", .bytesBehind, 2),
        ("{} {}", .bytesBehind, 3), ("\u{feff}{}", .unexpectedByte, 0), ("NaN", .unexpectedByte, 0),
        ("[1]]", .bytesBehind, 3), (#"{"a":1]"#, .unexpectedByte, 6),
    ])
    func `refuses what it does not, and says where`(text: String, reason: JSONError.Reason, offset: Int) {
        let found = failure(Array(text.utf8))
        #expect(found == JSONError(reason, at: offset), "\(found.map { "\($0)" } ?? "taken")")
    }

    @Test(
        arguments: [
            [0xff], [0xc0, 0x80], [0xc3], [0xe0, 0x80, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80],
            [0xf0, 0x8f, 0x80, 0x80], [0xf5, 0x80, 0x80, 0x80], [0xe2, 0x82],
        ] as [[UInt8]])
    func `strings are UTF-8`(bytes: [UInt8]) {
        #expect(failure([0x22, 0x61] + bytes + [0x22])?.reason == .notUTF8)
    }

    @Test func `values are nested as deep as the reader is told and no deeper`() throws {
        _ = try value(String(repeating: "[", count: 8) + String(repeating: "]", count: 8), depth: 8)
        let text = Array((String(repeating: "[", count: 100_000)).utf8)
        #expect(failure(text) == JSONError(.tooDeep, at: 64))
        var reader = JSONReader(text.rawBytes)
        #expect(throws: JSONError(.tooDeep, at: 64)) { try reader.skip() }
    }

    @Test(arguments: [0, 1, 31, 32, 33, 500])
    func `a name that comes twice is found among few and many`(others: Int) throws {
        let names = (0..<others).map { #""n\#($0)":{"a":1,"b":2}"# }
        let once = "{" + (names + [#""a":1"#]).joined(separator: ",") + "}"
        let twice = "{" + ([#""\u0061":2"#] + names + [#""a":1"#]).joined(separator: ",") + "}"
        #expect(failure(Array(once.utf8), refusing: true) == nil)
        #expect(failure(Array(twice.utf8), refusing: true)?.reason == .repeatedName)
        #expect(try value(twice)["a"]?.number == 2)
    }

    @Test func `whole numbers are exact`() throws {
        let text = Array("[9223372036854775807,-9223372036854775808,18446744073709551615,-0]".utf8)
        var reader = JSONReader(text.rawBytes)
        try reader.beginArray()
        #expect(try reader.nextElement())
        #expect(try reader.int64() == .max)
        #expect(try reader.nextElement())
        #expect(try reader.int64() == .min)
        #expect(try reader.nextElement())
        #expect(try reader.uint64() == .max)
        #expect(try reader.nextElement())
        #expect(try reader.uint64() == 0)
        #expect(try !reader.nextElement())
        try reader.end()
    }

    @Test(arguments: [
        ("9223372036854775808", JSONError.Reason.outOfRange), ("-9223372036854775809", .outOfRange), ("1.0", .notWhole),
        ("1e3", .notWhole), ("18446744073709551616", .outOfRange), ("\"1\"", .wanted(.number)),
    ])
    func `what is no whole number of the range is refused`(text: String, reason: JSONError.Reason) {
        let bytes = Array(text.utf8)
        var reader = JSONReader(bytes.rawBytes)
        #expect(throws: JSONError(reason, at: 0)) { try reader.int64() }
    }

    @Test func `members are found by name, escaped or not, and the rest is passed over`() throws {
        let text = Array(#"{"x":{"a":[1,{"b":"]}"}]},"n\u0061me":"v\n","z":1}"#.utf8)
        var reader = JSONReader(text.rawBytes)
        var found: [String] = []
        try reader.beginObject()
        while try reader.nextMember() {
            if reader.isMember("name") {
                let text = try reader.string()
                #expect(text.equals("v\n") && !text.equals("v") && !text.equals("v\nx"))
                found.append(text.string)
            } else {
                let range = try reader.skip()
                found.append(String(decoding: text[range], as: UTF8.self))
            }
        }
        try reader.end()
        #expect(found == [#"{"a":[1,{"b":"]}"}]}"#, "v\n", "1"])
    }
}
