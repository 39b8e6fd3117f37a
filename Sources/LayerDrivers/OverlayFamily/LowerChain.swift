import LayerModel
import LinuxIO

/// The layers below one layer, nearest first, as its `lower` file names them.
struct LowerChain: Sendable {
    struct Element: Sendable {
        let link: ShortLink
        let id: LayerID
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

extension OverlayStore {
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

    /// The layers below, nearest first. A link in `l/` that is gone is made anew from the layer whose `link` file says it.
    ///
    /// Throws `corruptLayer` where a layer of the chain is gone.
    func chain(of id: LayerID) throws(LayerError) -> LowerChain {
        var elements: [LowerChain.Element] = []
        var owners: [ShortLink: LayerID]?
        for link in try lowerLinks(of: id) {
            if let lower = try layer(of: link), try StoreFiles.isDirectory(contents(lower)) {
                elements.append(LowerChain.Element(link: link, id: lower))
                continue
            }
            if owners == nil { owners = try linkOwners() }
            guard let lower = owners?[link] else {
                throw LayerError(
                    .corruptLayer, "find the layers below", path: id.component,
                    cause: .reason("the layer that l/\(link.name) led to is gone"),
                    hint: "remove this layer and unpack the image again")
            }
            log(.warning, "made the missing link l/\(link.name) to \(lower) anew")
            try StoreFiles.unlink(path(of: link))
            try makeLink(link, for: lower)
            elements.append(LowerChain.Element(link: link, id: lower))
        }
        return LowerChain(elements: elements)
    }

    /// The direct parent, or nil for a base layer.
    func parent(of id: LayerID) throws(LayerError) -> LayerID? { try chain(of: id).elements.first?.id }

    /// The layers that have each short name by their own `link` files.
    func linkOwners() throws(LayerError) -> [ShortLink: LayerID] {
        var owners: [ShortLink: LayerID] = [:]
        for name in try StoreFiles.names(in: home) where !Self.isReserved(name) {
            let id = LayerID(trusted: name)
            if let link = try writtenLink(of: id) { owners[link] = id }
        }
        return owners
    }

    /// The lower directories of the layer, nearest first, as paths.
    func lowerPaths(of id: LayerID) throws(LayerError) -> [PathBytes] {
        try chain(of: id).elements.map { contents($0.id) }
    }
}
