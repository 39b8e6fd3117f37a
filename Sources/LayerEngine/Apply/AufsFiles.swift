import LayerModel
import LinuxIO
import TarCodec

/// The bookkeeping of aufs in a layer: files that have several names lie below `.wh..wh.plnk`, and links lead to them.
///
/// They are kept aside in a directory of this apply's own until they are linked; other bookkeeping is left out.
struct AufsFiles<Target: UnpackTarget> {
    private let target: Target
    /// The private directory, made at first use.
    private var node: UInt32?

    init(_ target: Target) { self.target = target }

    private static var privatePrefix: String { ".ldiff-plink-" }

    /// Keeps a file that links will lead to.
    mutating func keep(_ entry: borrowing TarDecoder, _ name: RawSpan) throws(LayerError) -> FileTarget {
        try target.prepareFile(entry, at: target.tree.place(of: name, in: privateDirectory()))
    }

    /// The kept file of that name.
    func file(_ name: RawSpan) -> NamePlace? {
        guard let node, let file = target.tree.knownPlace(of: name, in: node), target.tree.kind(file) == .regular
        else { return nil }
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
