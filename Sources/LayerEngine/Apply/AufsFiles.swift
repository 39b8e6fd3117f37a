import LayerModel
import LayerRules
import LinuxIO
import TarCodec

/// The bookkeeping of aufs in a layer: files that have several names lie below `.wh..wh.plnk`, and links lead to them.
///
/// They are kept aside in a directory of this apply's own until they are linked; other bookkeeping is left out.
struct AufsFiles<Target: UnpackTarget> {
    private let target: Target
    private let paths: PathFinder<Target>
    /// The private directory, made at first use.
    private var node: UInt32?

    init(_ target: Target, _ paths: PathFinder<Target>) {
        self.target = target
        self.paths = paths
    }

    private static var directoryName: StaticString { ".wh..wh.plnk" }
    private static var privatePrefix: String { ".ldiff-plink-" }

    /// Whether a clean name belongs to aufs's bookkeeping: its first component begins with `.wh..wh.`, and is not
    /// the root's opaque marker.
    func isBookkeeping(_ name: RawSpan) -> Bool {
        bytes(name, startWith: WhiteoutName.metaPrefix) && !bytes(name, equal: WhiteoutName.opaqueMarker)
    }

    /// Keeps a file that links will lead to; nil for what is left out.
    mutating func keep(_ entry: borrowing TarDecoder, _ name: ArchiveName) throws(LayerError) -> FileTarget? {
        let type = entry.fields.type
        guard bytes(name.directory, equal: Self.directoryName), name.base.byteCount <= 255,
            type == TarType.regular || type == TarType.contiguous || type == TarType.gnuSparse
        else { return nil }
        return try target.prepareFile(entry, at: target.tree.place(of: name.base, in: privateDirectory()))
    }

    /// The kept file that a link leads to; nil where it leads to no such file's name.
    func file(at path: RawSpan) throws(LayerError) -> NamePlace? {
        var cleaned = ArchiveName()
        try paths.clean(path, into: &cleaned, otherwise: .linkEscapes)
        guard bytes(cleaned.bytes.rawBytes, startWith: Self.directoryName) else { return nil }
        guard let node, let file = target.tree.knownPlace(of: cleaned.base, in: node),
            target.tree.kind(file) == .regular
        else { throw target.log.refusal(.unknownAUFSFile) }
        return file
    }

    private mutating func privateDirectory() throws(LayerError) -> UInt32 {
        if let node { return node }
        let entries = target.entries
        let name = (Self.privatePrefix + String(UInt64.random(in: 0...UInt64.max), radix: 16)).utf8Bytes
        let place = try target.tree.place(of: name.rawBytes, in: ApplyTree.rootNode)
        try entries.makeDirectory(place, mode: 0o700, [.made, .isPrivate])
        let made = try target.tree.makeNode(place, flags: [.fresh, .unpacked])
        try entries.setDirectoryMetadata(made, DirectoryMetadata(mode: 0o700, owner: entries.effective, isNew: true))
        node = made
        return made
    }

    /// Removes the private directory with what is left in it.
    mutating func remove() throws(LayerError) {
        guard let node = node.take() else { return }
        try target.entries.removeTree(target.tree.place(ofDirectory: node), countsBytes: true)
    }
}
