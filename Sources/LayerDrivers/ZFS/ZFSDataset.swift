import LayerModel

/// What the driver knows of a dataset or snapshot.
struct ZFSDataset: Sendable, Equatable {
    enum Kind: Sendable { case fileSystem, snapshot, other }

    var name: String
    var kind = Kind.other
    /// Never another's, whatever is called alike later.
    var guid = ""
    /// The snapshot that it is a clone of.
    var origin: String?
    /// A path, `legacy` or `none`.
    var mountpoint = PathBytes([])
    /// Whether the mount point was set here, not inherited.
    var hasOwnMountpoint = false
    var used: UInt64 = 0
    var available: UInt64 = 0
    /// 0 is no quota.
    var quota: UInt64 = 0
    var compression = ""
    /// A snapshot that goes with its last clone, or when nobody holds it.
    var isDeferred = false
    /// How many hold the snapshot, see `zfs holds`.
    var holds: UInt64 = 0

    // Our own properties; those that are inherited are left out.
    /// Whose layer it is.
    var layer: String?
    var maker: String?
    var purpose: ZFSNames.Purpose?
    /// The random text of a recorded size's snapshot.
    var sizeToken: String?
    var isRemoved = false
    /// Which of containerd's snapshots it is, or was made for.
    var snapshot: String?

    init(name: String) { self.name = name }

    /// What is asked of every dataset; all of it is in every version of OpenZFS, and in zfs-fuse.
    static let properties = [
        "type", "guid", "origin", "mountpoint", "used", "available", "quota", "compression", "defer_destroy",
        "userrefs",
        ZFSNames.property, ZFSNames.maker, ZFSNames.purpose, ZFSNames.removed, ZFSSizeRecords.property,
        ZFSSnapshots.property,
    ]

    /// Arguments of `zfs get` that print datasets for `parse`: `zfs list` of zfs-fuse has no exact numbers, `zfs get` has.
    static func query(recursive: Bool) -> [String] {
        [recursive ? "-rHp" : "-Hp", "-o", "name,property,value,source", properties.joined(separator: ",")]
    }

    /// Reads lines of `NAME TAB PROPERTY TAB VALUE TAB SOURCE`. Only a value may have further tabs in it, and spaces are no
    /// separators (K10).
    static func parse(_ text: [UInt8]) throws(LayerError) -> [ZFSDataset] {
        let tab = UInt8(ascii: "\t")
        var found: [ZFSDataset] = []
        for line in text.split(separator: UInt8(ascii: "\n")) {
            let fields = line.split(separator: tab, maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3, let cut = fields[2].lastIndex(of: tab) else {
                throw LayerError(
                    .io, "read what zfs printed",
                    cause: .reason("not a name, a property, a value and a source: '\(escapedText(Array(line)))'"))
            }
            let name = String(decoding: fields[0], as: UTF8.self)
            if found.last?.name != name { found.append(ZFSDataset(name: name)) }
            let source = fields[2][(cut + 1)...]
            found[found.count - 1].set(
                String(decoding: fields[1], as: UTF8.self), Array(fields[2][..<cut]),
                isOwn: source.elementsEqual("local".utf8) || source.elementsEqual("received".utf8))
        }
        return found
    }

    /// `isOwn`: the value was set on this very dataset, or came with it when it was received.
    private mutating func set(_ property: String, _ value: [UInt8], isOwn: Bool) {
        // "-" is no value.
        let text = value == [UInt8(ascii: "-")] ? nil : String(decoding: value, as: UTF8.self)
        switch property {
        case "type": kind = text == "filesystem" ? .fileSystem : text == "snapshot" ? .snapshot : .other
        case "guid": guid = text ?? ""
        case "origin": origin = text.flatMap { $0.isEmpty ? nil : $0 }
        case "mountpoint":
            mountpoint = text == nil ? PathBytes([]) : PathBytes(value)
            hasOwnMountpoint = isOwn
        case "used": used = text.flatMap { UInt64($0) } ?? 0
        case "available": available = text.flatMap { UInt64($0) } ?? 0
        case "quota": quota = text.flatMap { UInt64($0) } ?? 0
        case "compression": compression = text ?? ""
        case "defer_destroy": isDeferred = text == "on"
        case "userrefs": holds = text.flatMap { UInt64($0) } ?? 0
        default: if isOwn, let text { set(own: property, text) }
        }
    }

    private mutating func set(own property: String, _ text: String) {
        switch property {
        case ZFSNames.property: layer = text
        case ZFSNames.maker: maker = text
        case ZFSNames.purpose: purpose = ZFSNames.Purpose(rawValue: text)
        case ZFSNames.removed: isRemoved = true
        case ZFSSizeRecords.property: sizeToken = text
        case ZFSSnapshots.property: snapshot = text
        default: break
        }
    }

    /// A snapshot's own name; nil for a dataset.
    var snapshotName: Substring? { name.firstIndex(of: "@").map { name[name.index(after: $0)...] } }

    /// What `name` says of a snapshot, or the dataset itself.
    var datasetName: String { name.firstIndex(of: "@").map { String(name[..<$0]) } ?? name }

    /// Whether this program made the snapshot, by a property that was given with it.
    var isOurSnapshot: Bool { kind == .snapshot && (purpose != nil || sizeToken != nil) }

    /// Whether its maker may still be at work on it.
    var makerState: ZFSMaker.State { ZFSMaker.state(maker, of: name) }
}
