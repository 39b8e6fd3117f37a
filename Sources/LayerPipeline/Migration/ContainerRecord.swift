import LayerDrivers
import LayerModel
import PlainJSON

/// What Docker keeps of one container: a JSON object that names the driver of the container's layers.
///
/// Only that name is written anew: every other byte stays as Docker wrote it.
struct ContainerRecord {
    private let bytes: [UInt8]
    private let value: Range<Int>

    /// The driver that holds the container's layers.
    var driver: String { String(decoding: bytes[value], as: UTF8.self) }

    /// The record with another driver's name.
    func moved(to driver: DriverName) -> [UInt8] {
        Array(bytes[..<value.lowerBound]) + Array(driver.rawValue.utf8) + Array(bytes[value.upperBound...])
    }

    /// Finds the member `Driver` of the outermost object; nil where there is none, or no JSON object.
    init?(_ bytes: [UInt8]) {
        guard let value = try? Self.driver(in: bytes.rawBytes) else { return nil }
        self.bytes = bytes
        self.value = value
    }

    /// Where the name of the driver stands, without its quotes.
    private static func driver(in text: RawSpan) throws(JSONError) -> Range<Int>? {
        var reader = JSONReader(text)
        var value: Range<Int>?
        try reader.beginObject()
        while try reader.nextMember() {
            if value == nil, reader.isMember("Driver") {
                let byteCount = try reader.string().raw.byteCount
                value = reader.position - 1 - byteCount..<reader.position - 1
            } else {
                try reader.skip()
            }
        }
        try reader.end()
        return value
    }
}
