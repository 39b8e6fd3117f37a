import FoundationEssentials
import FuzzSupport
import GraphDriverMessages
import LayerModel
import PlainJSON

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
    var json = JSONWriter(.deletes)
    json.beginArray()
    json.string(bytes.rawBytes)
    json.endArray()
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
    var json = JSONWriter(.deletes)
    json.beginObject()
    for (name, value) in [
        ("ID", request.id), ("Parent", request.parent), ("MountLabel", request.mountLabel), ("Home", request.home),
    ] {
        json.name(name)
        json.string(value)
    }
    json.name("StorageOpt")
    json.beginObject()
    for option in request.storage {
        json.name(option.key)
        json.string(option.value)
    }
    json.endObject()
    json.name("Opts")
    json.beginArray()
    for option in request.options { json.string(option) }
    json.endArray()
    json.name("UIDMaps")
    PluginIDMap.write(request.userMaps, to: &json)
    json.name("GIDMaps")
    PluginIDMap.write(request.groupMaps, to: &json)
    json.endObject()
    return json.bytes
}
