import FuzzSupport
import LayerModel
import PlainJSON

@testable import LayerFormats

/// An object that a line says reads the same once it is written again, and names read as Go reads them.
func checkLine(_ line: [UInt8]) {
    var object = TarSplitObject()
    guard object.read(line.rawBytes) else { return }
    require(object.size >= 0 && object.kind != nil, "an object has a kind and a size")
    var written = "{\"type\":\(object.kind == .file ? 1 : 2),\"name_raw\":\"\(base64(object.name))\","
    written += "\"size\":\(object.size),\"payload\":\"\(base64(object.payload))\",\"position\":0}"
    var again = TarSplitObject()
    let bytes = Array(written.utf8)
    require(again.read(bytes.rawBytes), "an object that is written is read")
    require(
        again.kind == object.kind && again.name == object.name && again.size == object.size
            && again.payload == object.payload, "an object reads as it is written")
    require(object.name.count + object.payload.count <= line.count, "nothing grows")
}

private func base64(_ bytes: [UInt8]) -> String {
    var text = [UInt8](repeating: 0, count: bytes.count / 3 * 4 + 8)
    let count = Base64.encode(bytes.rawBytes, into: &text, at: 0)
    var decoded: [UInt8] = []
    require(
        Base64.decode(text.rawBytes.extracting(0..<count), into: &decoded) && decoded == bytes,
        "base 64 reads as it is written")
    return String(decoding: text[..<count], as: UTF8.self)
}
