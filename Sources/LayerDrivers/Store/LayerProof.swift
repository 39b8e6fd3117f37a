import LayerModel
import LinuxIO

/// A directory or file of a store that is known to be a layer's. Only `LayerParts.prove` and the stores' own records make one,
/// and only for one of these is a layer taken out of a store.
struct ProvenLayer: Sendable {
    let id: LayerID
    let path: PathBytes

    fileprivate init(_ id: LayerID, _ path: PathBytes) {
        self.id = id
        self.path = path
    }
}

/// What lies under a layer's name.
enum LayerForm: Sendable {
    case absent
    /// A layer, complete or half made.
    case ours(ProvenLayer)
    /// Something else; why it is no layer.
    case foreign(String)

    /// What `look` finds at `path`. It looks more than once, so a layer that is taken out meanwhile can seem to be something
    /// else: that is said only of what lay there all the time.
    static func seen(at path: PathBytes, _ look: () throws(LayerError) -> LayerForm) throws(LayerError) -> LayerForm {
        while true {
            if let form = try heldForm(of: path, look) { return form }
        }
    }

    /// Nil where it was another thing at the end.
    private static func heldForm(
        of path: PathBytes, _ look: () throws(LayerError) -> LayerForm
    ) throws(LayerError) -> LayerForm? {
        // Held open, so that the number of its inode goes to no other meanwhile.
        guard let place = try StoreFiles.hold(path) else { return .absent }
        let form = try look()
        guard case .foreign = form else { return form }
        let seen = try attempt("look at", path) { () throws(SystemCallError) in try place.metadata() }
        return try StoreFiles.metadata(path).map(FileIdentity.init) == FileIdentity(seen) ? form : nil
    }

    /// The proof, or nil where nothing is there.
    ///
    /// Throws `invalidArgument` for what is no layer.
    func proven(_ operation: String, _ id: LayerID, _ path: PathBytes) throws(LayerError) -> ProvenLayer? {
        switch self {
        case .absent: return nil
        case .ours(let layer): return layer
        case .foreign(let why):
            throw LayerError(
                .invalidArgument, operation, path: path,
                cause: .reason("what is called so in the store is no layer: \(why)"),
                hint: "move or remove it by hand, if it is to go, or choose another id")
        }
    }
}

/// What the directory of a layer may hold: by its whole form it is told from what others keep in a store.
struct LayerParts: Sendable {
    /// Names of directories, and of regular files.
    var directories: Set<String>
    var files: Set<String>
    /// How further names of directories begin that this program makes, sixteen hexadecimal digits behind it.
    var working: [[UInt8]] = [Array(ContentSwap.prefix.utf8)]
    /// A layer has all names of one of these sets, however little of it was made: it gets its name when it has them. Empty:
    /// nothing is asked.
    var essential: [Set<String>]

    /// Files that are being written.
    private static let temporary = Array(".tmp-".utf8)

    /// Looks whether what lies at `path` is the layer `id`. `isRecorded`: the store's own record says so, whatever else lies
    /// in the directory.
    func prove(_ id: LayerID, _ path: PathBytes, isRecorded: Bool) throws(LayerError) -> LayerForm {
        guard let found = try StoreFiles.metadata(path) else { return .absent }
        guard EntryKind(mode: found.mode) == .directory else { return .foreign("it is no directory") }
        guard try !StoreFiles.isMountPoint(path) else { return .foreign("something is mounted there") }
        if isRecorded { return .ours(ProvenLayer(id, path)) }
        let names = try StoreFiles.names(in: path)
        if let name = try foreignName(names, path) { return .foreign("it holds \(name), which no layer does") }
        if essential.isEmpty { return .ours(ProvenLayer(id, path)) }
        for set in essential where try hasAll(of: set, path) { return .ours(ProvenLayer(id, path)) }
        // Docker makes the directory before anything in it, and its parts one after the other.
        if id.isDockers {
            let parts = essential.reduce(into: Set<String>()) { $0.formUnion($1) }
            if names.isEmpty || names.contains(where: { parts.contains($0.description) }) {
                return .ours(ProvenLayer(id, path))
            }
        }
        return .foreign("it holds nothing that makes a layer")
    }

    /// Whether they are there now. A layer's tree comes before its upper directory goes, and a list of names that is read
    /// meanwhile can lack both.
    private func hasAll(of names: Set<String>, _ path: PathBytes) throws(LayerError) -> Bool {
        for name in names where try StoreFiles.metadata(path.appending(name)) == nil { return false }
        return true
    }

    /// Whether a directory in which this program builds or takes apart a layer holds nothing else.
    func describesAll(in path: PathBytes) throws(LayerError) -> Bool {
        guard try StoreFiles.isDirectory(path), try !StoreFiles.isMountPoint(path) else { return false }
        return try foreignName(StoreFiles.names(in: path), path) == nil
    }

    /// A name that no layer of this kind has.
    private func foreignName(_ names: [PathBytes], _ path: PathBytes) throws(LayerError) -> PathBytes? {
        for name in names {
            // Gone since it was listed.
            guard let found = try StoreFiles.metadata(path.appending(name)) else { continue }
            let isOurs =
                switch EntryKind(mode: found.mode) {
                case .directory:
                    directories.contains(name.description)
                        || working.contains { StoreFiles.isRandomName(name, $0) }
                case .regular: files.contains(name.description) || Self.isTemporary(name)
                default: false
                }
            guard isOurs else { return name }
        }
        return nil
    }

    /// Whether a file of this name was being written when a process ended, if its directory is locked.
    static func isTemporary(_ name: PathBytes) -> Bool { StoreFiles.isRandomName(name, temporary) }
}

extension ProvenLayer {
    /// A layer of aufs, which is no directory: its list of ancestors and its branch are both there.
    init?(_ id: LayerID, list: PathBytes, branch: PathBytes) throws(LayerError) {
        guard let found = try StoreFiles.metadata(list), EntryKind(mode: found.mode) == .regular,
            try StoreFiles.isDirectory(branch)
        else { return nil }
        self.init(id, list)
    }
}

extension LayerID {
    /// Whether it is of the form that Docker gives its layers: 64 hexadecimal digits, with `-init` behind those of a
    /// container's first layer. The 25 letters and digits of BuildKit's are what anybody may write, so they prove nothing.
    var isDockers: Bool {
        var digits = component.bytes[...]
        if digits.suffix(5).elementsEqual("-init".utf8) { digits.removeLast(5) }
        return digits.count == 64
            && digits.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }
}
