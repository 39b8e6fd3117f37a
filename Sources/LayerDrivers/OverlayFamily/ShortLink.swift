import LayerModel
import LinuxIO

/// The short name by which other layers refer to one: `l/NAME`, a link to `../ID/diff`.
///
/// 26 characters of RFC 4648's base 32, so that 128 of them fit the page of mount options.
struct ShortLink: Hashable, Sendable {
    static let length = 26
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".utf8)

    let name: PathBytes

    /// A new one that nobody has: 130 random bits.
    static func random() -> ShortLink {
        ShortLink(unchecked: PathBytes((0..<length).map { _ in alphabet[Int.random(in: 0..<32)] }))
    }

    /// What a `link` file or a component of a `lower` file holds; nil where it is no such name.
    init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == Self.length, bytes.allSatisfy(Self.alphabet.contains) else { return nil }
        name = PathBytes(Array(bytes))
    }

    private init(unchecked name: PathBytes) { self.name = name }

    /// The link's text for the layer `id`.
    static func target(_ id: LayerID) -> PathBytes { PathBytes("..").appending(id.component).appending("diff") }

    /// The layer that a link's text leads to, nil where it has another form.
    static func layer(target: PathBytes) -> LayerID? {
        let parts = target.bytes.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        guard parts.count == 3, PathBytes(Array(parts[0])) == PathBytes(".."),
            PathBytes(Array(parts[2])) == PathBytes("diff")
        else { return nil }
        return try? LayerID(PathBytes(Array(parts[1])))
    }
}

extension OverlayView {
    /// Where the short name lies: in this store's `l`, or where only an additional store has it, there.
    func path(of link: ShortLink) -> PathBytes {
        let own = links.appending(link.name)
        guard !additional.homes.isEmpty, ((try? StoreFiles.readLink(own)) ?? nil) == nil else { return own }
        return additional.link(link) ?? own
    }

    /// The layer's short name: from its `link` file, or where that is missing or empty, from the name in `l/` that leads
    /// to the layer. Nil for a directory that is no complete layer.
    func link(of id: LayerID) throws(LayerError) -> ShortLink? {
        if let link = try writtenLink(of: id) { return link }
        guard try StoreFiles.isDirectory(contents(id)) else { return nil }
        return try linkLeading(to: id)
    }

    /// What the layer's `link` file says, if it says anything that could be a link.
    func writtenLink(of id: LayerID) throws(LayerError) -> ShortLink? {
        guard let bytes = try StoreFiles.read(layer(id).appending("link")) else { return nil }
        return ShortLink(bytes)
    }

    /// The name in `l/` that leads to the layer; of several one that no other layer says is its own. Reads all of `l/`: only
    /// for damaged layers.
    func linkLeading(to id: LayerID) throws(LayerError) -> ShortLink? {
        let found = try linksLeading(to: id)
        guard found.count > 1 else { return found.first }
        var others: Set<ShortLink> = []
        for name in try StoreFiles.names(in: home) where !Self.isReserved(name) && name != id.component {
            if let link = try writtenLink(of: LayerID(trusted: name)) { others.insert(link) }
        }
        return found.first { !others.contains($0) } ?? found.first
    }

    /// All names in `l/` that lead to the layer.
    func linksLeading(to id: LayerID) throws(LayerError) -> [ShortLink] {
        let wanted = ShortLink.target(id)
        var found: [ShortLink] = []
        for name in try StoreFiles.names(in: links) {
            guard let link = ShortLink(name.bytes), try StoreFiles.readLink(path(of: link)) == wanted else { continue }
            found.append(link)
        }
        return found
    }

    /// The layer that a short name stands for; nil where its link is gone.
    func layer(of link: ShortLink) throws(LayerError) -> LayerID? {
        try StoreFiles.readLink(path(of: link)).flatMap(ShortLink.layer)
    }
}
