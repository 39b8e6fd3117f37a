import LayerModel
import PlainJSON

/// One object of tar-split metadata, its fields in any order (T3).
struct TarSplitObject {
    enum Kind: Equatable { case file, segment }

    private(set) var kind: Kind?
    private(set) var name: [UInt8] = []
    private(set) var size: Int64 = 0
    private(set) var payload: [UInt8] = []

    /// Reads the object that a line of JSON says; false if it says none.
    ///
    /// Fields that are not known are passed over, as Go does.
    mutating func read(_ line: RawSpan) -> Bool {
        kind = nil
        name.removeAll(keepingCapacity: true)
        size = 0
        payload.removeAll(keepingCapacity: true)
        do throws(JSONError) {
            var reader = JSONReader(line)
            try reader.beginObject()
            while try reader.nextMember() {
                guard try readField(&reader) else { return false }
            }
            try reader.end()
        } catch {
            return false
        }
        return kind != nil && size >= 0
    }

    private mutating func readField(_ reader: inout JSONReader) throws(JSONError) -> Bool {
        if reader.isMember("payload") {
            if try reader.takeNull() { return true }
            payload.removeAll(keepingCapacity: true)
            let text = try reader.string()
            return !text.hasEscapes && Base64.decode(text.raw, into: &payload)
        }
        if reader.isMember("type") {
            let number = try reader.int64()
            kind = number == 1 ? .file : number == 2 ? .segment : nil
            return kind != nil
        }
        if reader.isMember("size") {
            size = try reader.int64()
            return true
        }
        if reader.isMember("name") {
            if try reader.takeNull() { return true }
            let text = try reader.string()
            if name.isEmpty { text.append(to: &name) }
            return true
        }
        if reader.isMember("name_raw") {
            if try reader.takeNull() { return true }
            let text = try reader.string()
            if text.raw.byteCount > 0 { name.removeAll(keepingCapacity: true) }
            return !text.hasEscapes && Base64.decode(text.raw, into: &name)
        }
        if reader.isMember("position") { _ = try reader.int64() } else { try reader.skip() }
        return true
    }
}
