import LayerModel
import LinuxIO

/// The layers below one layer, nearest first, as its `lower` file names them.
struct LowerChain: Sendable {
    struct Element: Sendable {
        let link: ShortLink
        let id: LayerID
        /// Whether the name in `l/` is missing or leads elsewhere, so that nothing can be mounted by it.
        let isLost: Bool
    }

    let elements: [Element]

    /// The file's text: `l/A:l/B`.
    static func text(_ links: [ShortLink]) -> [UInt8] {
        var text: [UInt8] = []
        for link in links {
            if !text.isEmpty { text.append(UInt8(ascii: ":")) }
            text += Array("l/".utf8) + link.name.bytes
        }
        return text
    }

    /// The links that such a text names; nil where it has another form or is empty.
    static func links(in text: [UInt8]) -> [ShortLink]? {
        var links: [ShortLink] = []
        for part in text.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false) {
            guard part.starts(with: Array("l/".utf8)), let link = ShortLink(part.dropFirst(2)) else { return nil }
            links.append(link)
        }
        return links.isEmpty ? nil : links
    }
}

extension OverlayView {
    /// The links below the layer, nearest first; none for a base layer.
    ///
    /// Throws `corruptLayer` for a `lower` file that is empty or has another form.
    func lowerLinks(of id: LayerID) throws(LayerError) -> [ShortLink] {
        let path = layer(id).appending("lower")
        guard let text = try StoreFiles.read(path) else { return [] }
        guard let links = LowerChain.links(in: text) else {
            throw LayerError(
                .corruptLayer, "read", path: path,
                cause: .reason(text.isEmpty ? "the file is empty" : "it does not name links as l/NAME:l/NAME"),
                hint: "a crash or a full disk did this; remove the layer and unpack it again")
        }
        return links
    }

    /// The layers below, nearest first. Where a link in `l/` is gone, or leads to another layer, it is the layer whose `link`
    /// file says it.
    ///
    /// Throws `corruptLayer` where a layer of the chain is gone.
    func chain(of id: LayerID) throws(LayerError) -> LowerChain {
        var owners: [ShortLink: LayerID]?
        var elements: [LowerChain.Element] = []
        for link in try lowerLinks(of: id) { elements.append(try lower(link, of: id, &owners)) }
        return LowerChain(elements: elements)
    }

    /// The direct parent, or nil for a base layer.
    func parent(of id: LayerID) throws(LayerError) -> LayerID? {
        guard let link = try lowerLinks(of: id).first else { return nil }
        var owners: [ShortLink: LayerID]?
        return try lower(link, of: id, &owners).id
    }

    /// The layer that a link of the chain of `id` stands for. `owners` is read when it is needed first.
    private func lower(
        _ link: ShortLink, of id: LayerID, _ owners: inout [ShortLink: LayerID]?
    ) throws(LayerError) -> LowerChain.Element {
        var leadsTo = try layer(of: link)
        if let found = leadsTo, try !StoreFiles.isDirectory(contents(found)) { leadsTo = nil }
        if let leadsTo, try isName(link, of: leadsTo) {
            return LowerChain.Element(link: link, id: leadsTo, isLost: false)
        }
        if owners == nil { owners = try linkOwners() }
        if let owner = owners?[link] { return LowerChain.Element(link: link, id: owner, isLost: true) }
        // Docker that makes a layer once more gives it a second name, and writes only that into the layer.
        if let leadsTo { return LowerChain.Element(link: link, id: leadsTo, isLost: false) }
        throw LayerError(
            .corruptLayer, "find the layers below", path: id.component,
            cause: .reason("the layer that l/\(link.name) led to is gone"),
            hint: "remove this layer and unpack the image again")
    }

    /// The layers that have each short name by their own `link` files, or the one whose only name it is in `l/` where that file is
    /// lost or empty. Of several that say the same, the one that the name leads to: the others are copies of it. Where it leads
    /// to none of them nobody can tell.
    func linkOwners() throws(LayerError) -> [ShortLink: LayerID] {
        var claims: [ShortLink: [LayerID]] = [:]
        for name in try StoreFiles.names(in: home) where !Self.isReserved(name) {
            let id = LayerID(trusted: name)
            if let link = try writtenLink(of: id) { claims[link, default: []].append(id) }
        }
        var owners: [ShortLink: LayerID] = [:]
        for (link, ids) in claims {
            guard let leadsTo = try layer(of: link) else {
                if ids.count == 1 { owners[link] = ids[0] }
                continue
            }
            let isOwner = try ids.contains(leadsTo) ? true : isName(link, of: leadsTo)
            if isOwner {
                owners[link] = leadsTo
            } else if ids.count == 1 {
                owners[link] = ids[0]
            }
        }
        return owners
    }

    /// The lower directories of the layer, nearest first, as paths; for a packed layer that of its files.
    func lowerPaths(of id: LayerID) throws(LayerError) -> [PathBytes] {
        try chain(of: id).elements.map { (element) throws(LayerError) in
            try isPacked(element.id) ? packedPart(element.id) : contents(element.id)
        }
    }
}
