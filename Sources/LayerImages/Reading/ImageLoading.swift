import LayerCompression
package import LayerModel

/// Makes images of manifests.
struct ManifestLoader {
    private let files: ImageFiles

    init(_ files: ImageFiles) { self.files = files }

    func load(
        _ descriptor: ImageDescriptor, _ candidate: ImageCandidate, _ warnings: [String]
    ) throws(LayerError) -> LayerImage {
        guard let bytes = try files.document(descriptor, "manifest") else {
            throw missing("manifest", descriptor.digest)
        }
        guard case .manifest(let manifest) = try ImageDocuments.document(bytes, expected: descriptor.mediaType) else {
            throw ImageFault.malformed("manifest", "it is an index")
        }
        guard manifest.configuration.mediaType.isConfiguration else {
            throw ImageFault.unsupported(
                "image", "its configuration is of the type \(manifest.configuration.mediaType)")
        }
        guard let text = try files.document(manifest.configuration, "configuration") else {
            throw missing("configuration", manifest.configuration.digest)
        }
        let configuration = try ImageDocuments.configuration(text)
        var warnings = warnings
        let entries = manifest.layers.filter { !$0.mediaType.isAttestation }
        try ImageRules.check(configuration, layers: entries.count, &warnings)
        var layers: [ImageLayer] = []
        var chain = ChainID()
        for (entry, diffID) in zip(entries, configuration.diffIDs) {
            guard let said = entry.mediaType.layerFormat else {
                throw ImageFault.unsupported("layer", "\(entry.digest) is of the type \(entry.mediaType)")
            }
            let blob = try files.blob(ImageFiles.name(entry.digest))
            if let blob, Int64(blob.byteCount) != entry.size {
                throw LayerError(
                    .digestMismatch, "read the layer",
                    cause: .reason("\(entry.digest) has \(blob.byteCount) bytes, not \(entry.size)"))
            }
            let format = try blob?.sniff() ?? said
            if blob != nil, format != said, blob?.byteCount != 0 {
                warnings.append("the layer \(entry.digest) is said to be \(said.name), and is \(format.name)")
            }
            layers.append(
                ImageLayer(
                    diffID: diffID, chainID: chain.append(diffID), descriptor: entry, blob: blob, format: format))
        }
        return LayerImage(
            manifestDigest: descriptor.digest, configuration: configuration, layers: layers, names: candidate.names,
            warnings: warnings)
    }

    private func missing(_ what: String, _ digest: Digest) -> LayerError {
        LayerError(.notFound, "read the \(what)", path: files.path, cause: .reason("\(digest) is not in the image"))
    }
}

/// Makes images of what `docker save` wrote.
struct SavedImageLoader {
    private let files: ImageFiles

    init(_ files: ImageFiles) { self.files = files }

    func load(
        _ saved: ImageDocuments.SavedImage, _ candidate: ImageCandidate, _ warnings: [String]
    ) throws(LayerError) -> LayerImage {
        guard let text = try files.document(saved.configuration) else { throw missing(saved.configuration) }
        let configuration = try ImageDocuments.configuration(text)
        var warnings = warnings
        // A name that looks like the id it should be is no promise, but one that is broken deserves a word.
        let name = saved.configuration.split(separator: "/").last.map { $0.prefix { $0 != "." } } ?? ""
        if Digest(parsing: "sha256:" + name).map({ $0 != configuration.id }) == true {
            warnings.append("the configuration \(saved.configuration) has the digest \(configuration.id)")
        }
        try ImageRules.check(configuration, layers: saved.layers.count, &warnings)
        var layers: [ImageLayer] = []
        var chain = ChainID()
        for (path, diffID) in zip(saved.layers, configuration.diffIDs) {
            guard let blob = try files.blob(path) else { throw missing(path) }
            layers.append(
                ImageLayer(
                    diffID: diffID, chainID: chain.append(diffID), descriptor: nil, blob: blob, format: try blob.sniff()
                ))
        }
        return LayerImage(
            manifestDigest: nil, configuration: configuration, layers: layers, names: candidate.names,
            warnings: warnings)
    }

    private func missing(_ name: String) -> LayerError {
        LayerError(
            .notFound, "read the image", path: files.path,
            cause: .reason("\(escapedText(Array(name.utf8))) is not in it"))
    }
}

/// Rules that hold whatever an image lies in.
enum ImageRules {
    static func check(_ configuration: ImageConfiguration, layers: Int, _ warnings: inout [String]) throws(LayerError) {
        guard configuration.diffIDs.count == layers else {
            throw ImageFault.malformed(
                "configuration", "it has \(configuration.diffIDs.count) layers, and the manifest \(layers)")
        }
        if let count = configuration.layersInHistory, count > layers {
            warnings.append("the history tells of \(count) layers, and there are \(layers): Docker does not load that")
        }
    }
}

/// The name of a layer upon others: digests of digests.
package struct ChainID {
    private var last: Digest?

    package init() {}

    package mutating func append(_ diffID: Digest) -> Digest {
        let next = last.map { Digest.of(Array("\($0) \(diffID)".utf8).rawBytes) } ?? diffID
        last = next
        return next
    }
}
