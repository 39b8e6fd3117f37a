import Foundation
import LayerModel
import PlainJSON
import Testing

private func written(_ style: JSONStyle = [], _ body: (inout JSONWriter) -> Void) -> String {
    var writer = JSONWriter(style)
    body(&writer)
    return String(decoding: writer.bytes, as: UTF8.self)
}

@Suite struct WriterTests {
    @Test func `commas come by themselves`() {
        let text = written { json in
            json.beginObject()
            json.name("a")
            json.beginArray()
            json.number(1)
            json.beginArray()
            json.endArray()
            json.beginObject()
            json.endObject()
            json.null()
            json.endArray()
            json.name("b")
            json.bool(true)
            json.name("c".utf8.reduce(into: "") { $0.unicodeScalars.append(Unicode.Scalar($1)) })
            json.string("x")
            json.endObject()
        }
        #expect(text == #"{"a":[1,[],{},null],"b":true,"c":"x"}"#)
    }

    @Test(
        arguments: [
            ([], #"\u000a\u000d\u0009\u0001<>&"# + "\u{7f}\u{2028}"),
            (.go, #"\n\r\t\u0001\u003c\u003e\u0026"# + "\u{7f}" + #"\u2028"#),
            ([.newlines, .openingBrackets], #"\n\u000d\u0009\u0001\u003c>&"# + "\u{7f}\u{2028}"),
            (.deletes, #"\u000a\u000d\u0009\u0001<>&\u007f"# + "\u{2028}"),
        ] as [(JSONStyle, String)])
    func `styles escape what they say`(style: JSONStyle, inside: String) {
        let text = written(style) { $0.string("long enough for words\n\r\t\u{1}<>&\u{7f}\u{2028}\u{2027}\"\\é") }
        #expect(text == "\"long enough for words" + inside + "\u{2027}\\\"\\\\é\"")
    }

    @Test(
        arguments: [
            [0x61, 0xff, 0xfe, 0x62], [0xe2, 0x82, 0x61], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf0, 0x9f, 0x98],
            [0xf4, 0x90],
            [0xf0, 0x80, 0x80, 0x80],
        ] as [[UInt8]])
    func `bytes that are not UTF-8 read as Swift and Go read them`(bytes: [UInt8]) {
        #expect(written { $0.string(bytes.rawBytes) } == "\"" + String(decoding: bytes, as: UTF8.self) + "\"")
    }

    @Test(
        arguments: [
            Array("/plain/path with spaces".utf8), Array("a\"b\\c\nd".utf8), [0x2f, 0xff, 0xc3],
            Array("é€😀\u{85}\u{a0}".utf8),
            [0xed, 0xa0, 0x80], Array("\u{7f}x".utf8), [], Array("12345678\"12345678\\".utf8),
        ] as [[UInt8]])
    func `a path is a string, or base 64 where it is no text`(bytes: [UInt8]) throws {
        let json = written { json in
            json.beginObject()
            json.path("path", bytes.rawBytes)
            json.endObject()
        }
        let found = JSONValue(parsing: json.utf8)
        if let text = String(validating: bytes, as: UTF8.self) {
            #expect(found == .object([("path", .string(text))]))
        } else {
            #expect(found == .object([("pathBytes", .string(Data(bytes).base64EncodedString()))]))
        }
    }

    @Test func `ids that are no text stand apart`() throws {
        let ids = [
            LayerID(trusted: PathBytes("a\\b")), LayerID(trusted: PathBytes([0xff])), LayerID(trusted: PathBytes("ä")),
        ]
        var object = JSONObject()
        object.add("id", ids[0])
        object.add("parent", ids[1])
        object.add("removed", ids)
        object.add("copied", [ids[0]])
        #expect(
            object.text
                == #"{"id":"a\\b","parentBytes":"/w==","removed":["a\\b","ä"],"removedBytes":["/w=="],"copied":["a\\b"]}"#
        )
    }

    @Test(
        arguments: [
            Array("/plain/path with spaces".utf8), Array("a\"b\\c\nd".utf8), [0x2f, 0xff, 0xc3],
            Array("é€😀\u{85}\u{a0}".utf8),
            [0xed, 0xa0, 0x80], Array("\u{7f}x".utf8), [], Array("12345678\"12345678\\".utf8),
        ] as [[UInt8]])
    func `a path is escaped as a person is shown it`(bytes: [UInt8]) throws {
        let shown = PathBytes(bytes).description
        var text: [UInt8] = []
        PathEscaping.append(bytes.rawBytes, to: &text)
        #expect(String(decoding: text, as: UTF8.self) == shown)
        #expect(PathEscaping.isPlain(bytes.rawBytes) == false || Array(shown.utf8) == bytes)
    }

    @Test(arguments: [0, 1, 9, 10, 1234567890, Int64.max, Int64.min, -1, -10])
    func `numbers`(value: Int64) { #expect(written { $0.number(value) } == value.description) }

    @Test func `the largest number, and seconds`() {
        #expect(written { $0.number(UInt64.max) } == UInt64.max.description)
        #expect(written { $0.seconds(12.0345678) } == "12.034568")
        #expect(written { $0.seconds(-1) } == "0.000000")
    }

    @Test func `an object of members`() {
        var inner = JSONObject()
        inner.add("n", [String]())
        var object = JSONObject()
        object.add("a", "x\"")
        object.add("b", UInt64.max)
        object.add("c", false)
        object.add("d", ["1", "2"])
        object.add("e", inner)
        object.add("f", [JSONObject(), inner])
        object.add("g", seconds: 1.5)
        let members =
            #""a":"x\"","b":18446744073709551615,"c":false,"d":["1","2"],"e":{"n":[]},"f":[{},{"n":[]}],"g":1.500000"#
        #expect(object.membersText == members)
        #expect(object.text == "{" + members + "}")
    }
}
