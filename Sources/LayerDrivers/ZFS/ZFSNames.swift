import LayerModel

/// The names of a store's datasets and snapshots, and the properties that prove that they are ours.
struct ZFSNames: Sendable {
    /// The dataset that holds the layers'.
    let root: String

    /// The property that says whose layer a dataset is. The colon makes it a user's property. Like the others it is given in the
    /// command that makes the dataset or snapshot, and counts only where it was set, not where it is inherited.
    static let property = "ldiff:layer"
    /// Who made what is there for a while only, see `ZFSMaker`.
    static let maker = "ldiff:maker"
    /// What a snapshot is for, see `Purpose`.
    static let purpose = "ldiff:for"
    /// Set on a layer that is removed, before it is renamed.
    static let removed = "ldiff:removed"

    enum Purpose: String, Sendable {
        /// A layer is being cloned of it.
        case clone
        /// The state of a layer before something is unpacked into it.
        case apply
    }

    /// What the snapshot is called from which a layer is cloned.
    static let clonePrefix = "sw-"
    /// The state of a layer before something is unpacked into it. The name is its lock: there is one at a time.
    static let applySnapshot = "ldiff-apply"
    /// A dataset that could not be destroyed yet.
    static let removingPrefix = "removing-"
    /// A layer that is being unpacked before it is in the store.
    static let makingPrefix = "ldiff-making-"
    /// ZFS_MAX_DATASET_NAME_LEN, less the NUL.
    private static let longest = 255
    /// The longest that is put before or behind an id or in its place, with sixteen random digits.
    private static let longestExtra = 1 + clonePrefix.utf8.count + 16

    func dataset(_ id: LayerID) -> String { root + "/" + Self.text(id) }

    /// A new name for the snapshot of `parent` that a child is cloned from; nobody else takes it.
    func newOrigin(in parent: LayerID) -> String {
        dataset(parent) + "@" + Self.clonePrefix + StoreFiles.randomText()
    }

    func applySnapshot(_ id: LayerID) -> String { dataset(id) + "@" + Self.applySnapshot }

    /// A new name for a layer that is being removed, or made.
    func newRemoving() -> String { root + "/" + Self.removingPrefix + StoreFiles.randomText() }
    func newMaking() -> String { root + "/" + Self.makingPrefix + StoreFiles.randomText() }

    /// The last component of a dataset directly in the root; nil for others, and for snapshots.
    func component(_ dataset: String) -> Substring? {
        guard dataset.hasPrefix(root + "/") else { return nil }
        let name = dataset.dropFirst(root.utf8.count + 1)
        return name.contains("/") || name.contains("@") ? nil : name
    }

    /// The layer whose dataset has this name; nil for others, those deeper down, and for what is no layer's name. No proof that
    /// it is one.
    func layer(_ dataset: String) -> LayerID? {
        guard let name = component(dataset), !Self.isReserved(name) else { return nil }
        return try? LayerID(PathBytes(Array(name.utf8)))
    }

    private static func isReserved(_ name: some StringProtocol) -> Bool {
        name.hasPrefix(removingPrefix) || name.hasPrefix(makingPrefix)
    }

    /// The layer that a clone was made from, by its origin's name.
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
            } else if Self.isReserved(text) {
                "the driver zfs uses this name itself"
            } else if dataset(id).utf8.count + Self.longestExtra > Self.longest {
                "the names of its dataset and snapshots in \(root) would be longer than \(Self.longest) bytes"
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

    /// What Docker calls its layers: 64 hexadecimal digits, with `-init` behind those of a container's first.
    static func isDockers(_ id: LayerID) -> Bool {
        var bytes = id.component.bytes[...]
        if bytes.suffix(5).elementsEqual("-init".utf8) { bytes = bytes.dropLast(5) }
        let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
        return bytes.count == 64
            && bytes.allSatisfy { digits.contains($0) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0) }
    }

    /// What BuildKit calls its layers in a store of Docker's: 25 letters and digits, which anybody else may use, too.
    static func isBuildKits(_ id: LayerID) -> Bool {
        let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
        return id.component.bytes.count == 25
            && id.component.bytes.allSatisfy {
                digits.contains($0) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
            }
    }

    /// Whether a snapshot is called as Docker calls those that it clones: by the nanoseconds of a second.
    static func isDockersOrigin(_ snapshot: String) -> Bool {
        guard let cut = snapshot.firstIndex(of: "@") else { return false }
        let name = snapshot[snapshot.index(after: cut)...].utf8
        return (1...9).contains(name.count) && name.allSatisfy { $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }
    }

    static func text(_ id: LayerID) -> String { String(decoding: id.component.bytes, as: UTF8.self) }
}
