import LayerCompression
package import LayerModel
package import LinuxIO

/// Images in a directory or an archive: an OCI layout, what `docker save` writes, or both in one. Nothing is copied.
package struct ImageArchive: Sendable {
    /// What the image lies in.
    package enum Layout: String, Sendable {
        case oci = "OCI layout"
        case docker = "docker archive"
    }

    package let layout: Layout
    /// The images, in the order of the index.
    package let candidates: [ImageCandidate]
    package let warnings: [String]
    let files: ImageFiles

    /// Opens what lies at `path`. A compressed archive, and a pipe, are unpacked into a file without name in `spool` first.
    ///
    /// Throws `corruptLayer` for what is no image, `unsupported` for old kinds of them.
    package static func open(
        _ path: PathBytes, spool: PathBytes = PathBytes("/var/tmp"), cancel: CancelFlag? = nil
    ) throws(LayerError) -> ImageArchive {
        try ImageArchive(ImageFiles(path, spool: spool, cancel: cancel))
    }

    /// The same of an open file or pipe.
    package static func open(
        descriptor: consuming OwnedDescriptor, displayPath: PathBytes, spool: PathBytes = PathBytes("/var/tmp"),
        cancel: CancelFlag? = nil
    ) throws(LayerError) -> ImageArchive {
        try ImageArchive(ImageFiles(descriptor, displayPath, spool, cancel))
    }

    private init(_ files: ImageFiles) throws(LayerError) {
        self.files = files
        var warnings: [String] = []
        if let text = try files.document("oci-layout") {
            let version = try ImageDocuments.layoutVersion(text)
            if version != "1.0.0" {
                guard version.hasPrefix("1.") else {
                    throw LayerError(
                        .unsupported, "read the image", path: files.path,
                        cause: .reason("its layout has the version \(escapedText(Array(version.utf8)))"))
                }
                warnings.append("the layout has the version \(version)")
            }
            layout = .oci
            candidates = try LayoutIndex(files).candidates()
        } else if let text = try files.document("manifest.json", limit: 20 << 20) {
            layout = .docker
            candidates = try Self.savedCandidates(text)
        } else if try files.blob("repositories") != nil {
            throw LayerError(
                .unsupported, "read the image", path: files.path,
                cause: .reason("it was saved by a Docker older than 1.10"),
                hint: "load it into such a Docker and save it with a newer one")
        } else {
            throw LayerError(
                .corruptLayer, "read the image", path: files.path,
                cause: .reason("there is neither oci-layout nor manifest.json in it"))
        }
        self.warnings = warnings
    }

    private static func savedCandidates(_ text: [UInt8]) throws(LayerError) -> [ImageCandidate] {
        try ImageDocuments.savedImages(text).enumerated().map { index, image in
            ImageCandidate(names: image.tags, isPresent: true, group: index, saved: image)
        }
    }

    /// The image that is asked for. Throws `notFound` with what is there, and `invalidArgument` where several would do.
    package func image(_ selection: ImageSelection = ImageSelection()) throws(LayerError) -> LayerImage {
        let (candidate, warnings) = try ImageChoice(self).choose(selection)
        let image = try load(candidate, warnings: self.warnings + warnings)
        if let wanted = selection.digest, image.manifestDigest != wanted, image.id != wanted {
            throw LayerError(
                .digestMismatch, "read the image", path: files.path,
                cause: .reason("it has the id \(image.id), not \(wanted)"))
        }
        return image
    }

    func load(_ candidate: ImageCandidate, warnings: [String] = []) throws(LayerError) -> LayerImage {
        if let saved = candidate.saved { return try SavedImageLoader(files).load(saved, candidate, warnings) }
        guard let manifest = candidate.manifest else {
            throw LayerError(.notFound, "read the image", path: files.path, cause: .reason("its manifest is not there"))
        }
        return try ManifestLoader(files).load(manifest, candidate, warnings)
    }
}

extension ImageFiles {
    /// The document that a descriptor points to, if its length and digest are right; nil where it is not there.
    func document(_ descriptor: ImageDescriptor, _ what: String) throws(LayerError) -> [UInt8]? {
        guard let blob = try blob(Self.name(descriptor.digest)) else { return nil }
        guard Int64(blob.byteCount) == descriptor.size else {
            throw LayerError(
                .digestMismatch, "read the \(what)",
                cause: .reason("\(descriptor.digest) has \(blob.byteCount) bytes, not \(descriptor.size)"))
        }
        let bytes = try blob.bytes(limit: ImageDocuments.longest, what)
        let found = Digest.of(bytes.rawBytes)
        guard found == descriptor.digest else {
            throw LayerError(
                .digestMismatch, "read the \(what)",
                cause: .reason("it has the digest \(found), not \(descriptor.digest)"))
        }
        return bytes
    }

    static func name(_ digest: Digest) -> String { "blobs/sha256/" + digest.hexadecimal }
}

/// The entries of a layout's index, and of the indexes that it leads to.
struct LayoutIndex {
    private let files: ImageFiles
    private static let deepest = 4
    private static let most = 10_000

    init(_ files: ImageFiles) { self.files = files }

    func candidates() throws(LayerError) -> [ImageCandidate] {
        guard let text = try files.document("index.json") else {
            throw LayerError(
                .corruptLayer, "read the image", path: files.path, cause: .reason("there is no index.json in it"))
        }
        guard case .index(let index) = try ImageDocuments.document(text, expected: nil) else {
            throw ImageFault.malformed("index", "index.json is a manifest")
        }
        var found: [ImageCandidate] = []
        for (group, entry) in index.manifests.enumerated() {
            try add(entry, Self.names(entry), group, depth: 1, to: &found)
        }
        return found
    }

    private static func names(_ entry: ImageDescriptor) -> [String] {
        var names: [String] = []
        for key in [ImageAnnotation.imageName, ImageAnnotation.appleImageName, ImageAnnotation.referenceName] {
            if let name = entry.annotation(key), !names.contains(name) { names.append(name) }
        }
        return names
    }

    private func add(
        _ entry: ImageDescriptor, _ names: [String], _ group: Int, depth: Int, to found: inout [ImageCandidate]
    ) throws(LayerError) {
        guard entry.platform?.isUnknown != true, entry.annotation(ImageAnnotation.referenceType) == nil else { return }
        guard found.count < Self.most else {
            throw LayerError(.limitExceeded, "read the index", cause: .reason("it leads to more than 10000 images"))
        }
        guard entry.mediaType.isIndex || entry.mediaType.isManifest else { return }
        guard let bytes = try files.document(entry, entry.mediaType.isIndex ? "index" : "manifest") else {
            found.append(
                ImageCandidate(
                    names: names, platform: entry.platform, manifestDigest: entry.digest, isPresent: false,
                    group: group,
                    manifest: entry))
            return
        }
        switch try ImageDocuments.document(bytes, expected: entry.mediaType) {
        case .index(let index):
            guard depth < Self.deepest else {
                throw LayerError(.limitExceeded, "read the index", cause: .reason("indexes are nested too deeply"))
            }
            for child in index.manifests { try add(child, names, group, depth: depth + 1, to: &found) }
        case .manifest(let manifest):
            // Artifacts are no images: their configuration is of another type.
            guard manifest.configuration.mediaType.isConfiguration else { return }
            found.append(
                ImageCandidate(
                    names: names, platform: entry.platform, manifestDigest: entry.digest, isPresent: true, group: group,
                    manifest: entry, configuration: manifest.configuration.digest))
        }
    }
}
