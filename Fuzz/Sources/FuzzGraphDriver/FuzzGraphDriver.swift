import FoundationEssentials
import FuzzSupport
import GraphDriverMessages
import LayerModel

/// A body that is taken says the same in every reading and once it is written again; text of any bytes is written as JSON
/// that says that text.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzGraphDriver(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: data, count: count))
    checkText(bytes)
    guard let request = try? PluginRequest(body: bytes) else { return 0 }
    guard let second = try? PluginRequest(body: bytes) else { fatalError("rule broken: a second reading fails") }
    require(isSame(request, second), "two readings say the same")
    guard let again = try? PluginRequest(body: written(request)) else {
        fatalError("rule broken: a request that is written is not read")
    }
    require(isSame(request, again), "a request reads as it is written")
    return 0
}

private func checkText(_ bytes: [UInt8]) {
    var json = JSONBytes()
    json.raw("[")
    json.string(bytes.rawBytes)
    json.raw("]")
    guard let read = try? JSONDecoder().decode([String].self, from: Data(json.bytes)) else {
        fatalError("rule broken: text is written as JSON")
    }
    let expected = String(decoding: bytes, as: UTF8.self)
    require(read.count == 1 && read[0].utf8.elementsEqual(expected.utf8), "text reads as it is written")
}

private func isSame(_ one: PluginRequest, _ other: PluginRequest) -> Bool {
    // Strings compare by what they look like, and here bytes count.
    func bytes(_ texts: [String]) -> [[UInt8]] { texts.map { Array($0.utf8) } }
    func storage(_ request: PluginRequest) -> [[UInt8]] {
        request.storage.map { bytes([$0.key, $0.value]) }.sorted { $0[0].lexicographicallyPrecedes($1[0]) }.flatMap {
            $0
        }
    }
    return bytes([one.id, one.parent, one.mountLabel, one.home])
        == bytes([other.id, other.parent, other.mountLabel, other.home])
        && bytes(one.options) == bytes(other.options) && storage(one) == storage(other)
        && one.userMaps == other.userMaps && one.groupMaps == other.groupMaps
}

private func written(_ request: PluginRequest) -> [UInt8] {
    var json = JSONBytes()
    func member(_ key: StaticString, _ value: String, _ json: inout JSONBytes) {
        json.raw(key)
        json.string(value)
    }
    func maps(_ key: StaticString, _ maps: [PluginIDMap], _ json: inout JSONBytes) {
        json.raw(key)
        for (index, map) in maps.enumerated() {
            json.raw(index > 0 ? ",{\"container_id\":" : "{\"container_id\":")
            json.number(map.container)
            json.raw(",\"host_id\":")
            json.number(map.host)
            json.raw(",\"size\":")
            json.number(map.count)
            json.raw("}")
        }
        json.raw("]")
    }
    member("{\"ID\":", request.id, &json)
    member(",\"Parent\":", request.parent, &json)
    member(",\"MountLabel\":", request.mountLabel, &json)
    member(",\"Home\":", request.home, &json)
    json.raw(",\"StorageOpt\":{")
    for (index, option) in request.storage.enumerated() {
        if index > 0 { json.raw(",") }
        json.string(option.key)
        json.raw(":")
        json.string(option.value)
    }
    json.raw("},\"Opts\":[")
    for (index, option) in request.options.enumerated() {
        if index > 0 { json.raw(",") }
        json.string(option)
    }
    json.raw("]")
    maps(",\"UIDMaps\":[", request.userMaps, &json)
    maps(",\"GIDMaps\":[", request.groupMaps, &json)
    json.raw("}")
    return json.bytes
}
