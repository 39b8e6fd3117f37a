import LayerModel

/// What the driver knows of a dataset or snapshot.
struct ZFSDataset: Sendable, Equatable {
    enum Kind: Sendable { case fileSystem, snapshot, other }

    var name: String
    var kind = Kind.other
    /// The snapshot that it is a clone of.
    var origin: String?
    /// A path, `legacy` or `none`.
    var mountpoint = PathBytes([])
    /// Whose layer it is, by our property.
    var layer: String?
    var used: UInt64 = 0
    var available: UInt64 = 0
    /// 0 is no quota.
    var quota: UInt64 = 0
    var compression = ""
    /// A snapshot that goes with its last clone.
    var isDeferred = false

    init(name: String) { self.name = name }

    /// What is asked of every dataset; all of it is in every version of OpenZFS, and in zfs-fuse.
    static let properties = [
        "type", "origin", "mountpoint", "used", "available", "quota", "compression", "defer_destroy", ZFSNames.property,
    ]

    /// Arguments of a command that prints datasets for `parse`: `zfs list` of zfs-fuse has no exact numbers, `zfs get` has.
    static func query(recursive: Bool) -> [String] {
        ["get", recursive ? "-rHp" : "-Hp", "-o", "name,property,value", properties.joined(separator: ",")]
    }

    /// Reads lines of `NAME TAB PROPERTY TAB VALUE`. Only a value may have further tabs in it, and spaces are no
    /// separators (K10).
    static func parse(_ text: [UInt8]) throws(LayerError) -> [ZFSDataset] {
        let tab = UInt8(ascii: "\t")
        var found: [ZFSDataset] = []
        for line in text.split(separator: UInt8(ascii: "\n")) {
            let fields = line.split(separator: tab, maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else {
                throw LayerError(
                    .io, "read what zfs printed",
                    cause: .reason("not a name, a property and a value: '\(escapedText(Array(line)))'"))
            }
            let name = String(decoding: fields[0], as: UTF8.self)
            if found.last?.name != name { found.append(ZFSDataset(name: name)) }
            found[found.count - 1].set(String(decoding: fields[1], as: UTF8.self), Array(fields[2]))
        }
        return found
    }

    private mutating func set(_ property: String, _ value: [UInt8]) {
        // "-" is no value.
        let text = value == [UInt8(ascii: "-")] ? nil : String(decoding: value, as: UTF8.self)
        switch property {
        case "type": kind = text == "filesystem" ? .fileSystem : text == "snapshot" ? .snapshot : .other
        case "origin": origin = text.flatMap { $0.isEmpty ? nil : $0 }
        case "mountpoint": mountpoint = text == nil ? PathBytes([]) : PathBytes(value)
        case "used": used = text.flatMap { UInt64($0) } ?? 0
        case "available": available = text.flatMap { UInt64($0) } ?? 0
        case "quota": quota = text.flatMap { UInt64($0) } ?? 0
        case "compression": compression = text ?? ""
        case "defer_destroy": isDeferred = text == "on"
        case ZFSNames.property: layer = text
        default: break
        }
    }
}
