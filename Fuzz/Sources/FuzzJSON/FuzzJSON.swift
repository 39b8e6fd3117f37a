import FuzzSupport
import LayerModel
import PlainJSON

/// Text that is taken is written again as the same value in every style, and passing over it says the same as reading it;
/// any bytes become a string, and a path, that read as they should.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzJSON(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let text = Array(UnsafeBufferPointer(start: data, count: count))
    let value = reading(text, JSONLimits()) { (reader) throws(JSONError) -> JSONValue in try JSONValue(&reader) }
    let passed = reading(text, JSONLimits()) { (reader) throws(JSONError) -> Bool in
        let range = try reader.skip()
        require(range.lowerBound >= 0 && range.upperBound == reader.position, "a value stands where it was passed")
        return true
    }
    switch (value, passed) {
    case (.success(let value), .success):
        for style in [[], .go, [.newlines, .openingBrackets], .deletes] as [JSONStyle] {
            let again = reading(value.bytes(style), JSONLimits()) { (reader) throws(JSONError) -> JSONValue in
                try JSONValue(&reader)
            }
            guard case .success(let again) = again else { fatalError("rule broken: what is written is read") }
            require(again == value, "a value reads as it is written")
        }
        let strict = reading(text, JSONLimits(refusesRepeatedNames: true)) { (reader) throws(JSONError) -> Bool in
            try reader.skip()
            return true
        }
        if case .failure(let error) = strict {
            require(error.reason == .repeatedName && hasRepeatedName(value), "only a name that comes twice is refused")
        } else {
            require(!hasRepeatedName(value), "a name that comes twice is refused")
        }
    case (.failure(let one), .failure(let other)):
        require(one == other && one.offset >= 0 && one.offset <= count, "reading and passing fail at the same place")
    default: fatalError("rule broken: reading and passing agree")
    }
    checkText(text)
    return 0
}

private func reading<Result>(
    _ text: [UInt8], _ limits: JSONLimits,
    _ body: (inout JSONReader) throws(JSONError) -> Result
) -> Swift.Result<Result, JSONError> {
    do throws(JSONError) {
        var reader = JSONReader(text.rawBytes, limits: limits)
        let result = try body(&reader)
        try reader.end()
        return .success(result)
    } catch {
        return .failure(error)
    }
}

private func hasRepeatedName(_ value: JSONValue) -> Bool {
    switch value {
    case .array(let elements): elements.contains(where: hasRepeatedName)
    case .object(let members):
        Set(members.map { Array($0.0.utf8) }).count < members.count || members.contains { hasRepeatedName($0.1) }
    default: false
    }
}

private func checkText(_ bytes: [UInt8]) {
    var json = JSONWriter(.go)
    json.beginArray()
    json.string(bytes.rawBytes)
    json.beginObject()
    json.path("p", bytes.rawBytes)
    json.endObject()
    json.base64(bytes.rawBytes)
    json.endArray()
    guard let value = JSONValue(parsing: json.bytes), value.elements.count == 3 else {
        fatalError("rule broken: any bytes are written as JSON")
    }
    let said = value.elements.map { Array(($0.string ?? "").utf8) }
    let path = value.elements[1]
    require(said[0] == Array(String(decoding: bytes, as: UTF8.self).utf8), "text reads as Swift repairs it")
    var decoded: [UInt8] = []
    if String(validating: bytes, as: UTF8.self) != nil {
        require(Array((path["p"]?.string ?? "").utf8) == bytes, "a path that is UTF-8 reads as it is")
        require(path["pBytes"] == nil, "a path is written once")
    } else {
        let text = Array((path["pBytes"]?.string ?? "").utf8)
        require(Base64.decode(text.rawBytes, into: &decoded) && decoded == bytes, "any path reads as it is")
        require(path["p"] == nil, "a path is written once")
        decoded = []
    }
    let encoded = said[2]
    let isRead = Base64.decode(encoded.rawBytes, into: &decoded)
    require(isRead && decoded == bytes, "base 64 reads as it is written")
}
