import LayerModel

/// The names of a store's datasets and snapshots.
struct ZFSNames: Sendable {
    /// The dataset that holds the layers'.
    let root: String

    /// The property that says whose layer a dataset is. The colon makes it a user's property.
    static let property = "ldiff:layer"
    /// What the snapshot is called from which a layer is cloned: the layer's id makes it unique.
    static let clonePrefix = "sw-"
    /// The state of a layer before something is unpacked into it.
    static let applySnapshot = "ldiff-apply"
    /// A dataset that could not be destroyed yet.
    static let removingPrefix = "removing-"
    /// ZFS_MAX_DATASET_NAME_LEN, less the NUL.
    private static let longest = 255

    func dataset(_ id: LayerID) -> String { root + "/" + Self.text(id) }

    /// The snapshot of `parent` for its child `id`.
    func origin(of id: LayerID, in parent: LayerID) -> String {
        dataset(parent) + "@" + Self.clonePrefix + Self.text(id)
    }

    func applySnapshot(_ id: LayerID) -> String { dataset(id) + "@" + Self.applySnapshot }

    func removing(_ id: LayerID) -> String { root + "/" + Self.removingPrefix + Self.text(id) }

    /// The layer whose dataset this is; nil for others, those deeper down, and for what is being removed.
    func layer(_ dataset: String) -> LayerID? {
        guard dataset.hasPrefix(root + "/") else { return nil }
        let name = dataset.dropFirst(root.count + 1)
        guard !name.contains("/"), !name.contains("@"), !name.hasPrefix(Self.removingPrefix) else { return nil }
        return LayerID(trusted: PathBytes(Array(name.utf8)))
    }

    /// The layer that a clone was made from.
    func parent(origin: String) -> LayerID? {
        guard let cut = origin.firstIndex(of: "@") else { return nil }
        return layer(String(origin[..<cut]))
    }

    /// Refuses an id that cannot be a dataset's name, before anything is asked.
    func validate(_ id: LayerID) throws(LayerError) {
        let text = Self.text(id)
        let refusal: String? =
            if !id.component.bytes.allSatisfy(Self.isNameByte) {
                "a dataset's name has only letters, digits, spaces, and - _ . : in it"
            } else if text.hasPrefix(Self.removingPrefix) {
                "the driver zfs uses this name itself"
            } else if dataset(id).utf8.count + Self.clonePrefix.utf8.count + text.utf8.count + 1 > Self.longest {
                "the names of its dataset and snapshot in \(root) would be longer than \(Self.longest) bytes"
            } else {
                nil
            }
        guard let refusal else { return }
        throw LayerError(
            .invalidArgument, "use the layer id", path: id.component, cause: .reason(refusal), hint: "choose another id"
        )
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: "-_.: ".utf8.contains(byte)
        }
    }

    /// Whether an id is one that Docker gives: 64 hexadecimal digits, or BuildKit's 25 letters and digits, perhaps `-init`.
    static func isDockers(_ id: LayerID) -> Bool {
        var bytes = id.component.bytes[...]
        if bytes.suffix(5).elementsEqual("-init".utf8) { bytes = bytes.dropLast(5) }
        let lower = UInt8(ascii: "a")...UInt8(ascii: "z")
        let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
        switch bytes.count {
        case 64: return bytes.allSatisfy { digits.contains($0) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0) }
        case 25: return bytes.allSatisfy { digits.contains($0) || lower.contains($0) }
        default: return false
        }
    }

    static func text(_ id: LayerID) -> String { String(decoding: id.component.bytes, as: UTF8.self) }
}
