package import LayerCompression
package import LayerModel
package import LinuxIO

/// One image: its configuration, which gives it its id, and its layers from the lowest up.
package struct LayerImage: Sendable {
    /// The digest of its manifest; nil for archives that have none.
    package let manifestDigest: Digest?
    package let configuration: ImageConfiguration
    package let layers: [ImageLayer]
    /// The names that it goes by.
    package let names: [String]
    /// What is odd about it, though it can be used.
    package let warnings: [String]

    /// The image's id: the digest of its configuration.
    package var id: Digest { configuration.id }
    package var platform: Platform { configuration.platform }
}

/// One layer of an image.
package struct ImageLayer: Sendable {
    /// The digest of the tar.
    package let diffID: Digest
    /// The digest of this layer upon all below it, by which stores call it.
    package let chainID: Digest
    /// What points to it; nil in archives that do not say.
    package let descriptor: ImageDescriptor?
    /// Where it lies; nil where it is not here.
    package let blob: ImageBlob?
    /// What it is compressed with, whatever its type says.
    package let format: LayerFormat

    package init(
        diffID: Digest, chainID: Digest, descriptor: ImageDescriptor?, blob: ImageBlob?, format: LayerFormat
    ) {
        self.diffID = diffID
        self.chainID = chainID
        self.descriptor = descriptor
        self.blob = blob
        self.format = format
    }

    /// The blob. Throws `notFound` where it is not here, with the places that it can be fetched from.
    package func present() throws(LayerError) -> ImageBlob {
        if let blob { return blob }
        let urls = descriptor?.urls ?? []
        throw LayerError(
            .notFound, "read the layer", cause: .reason("\(descriptor?.digest ?? diffID) is not in the image"),
            hint: urls.isEmpty ? nil : "it lies at " + urls.joined(separator: ", "))
    }

    /// Reads the layer and compares both digests; `body` gets the tar as it comes, before it is known to be right.
    ///
    /// Throws `digestMismatch` with both values, and whatever is wrong with the stream.
    package func verify(
        cancel: CancelFlag? = nil, _ body: (RawSpan) throws(LayerError) -> Void = { (_) throws(LayerError) in }
    ) throws(LayerError) {
        let blob = try present()
        var options = LayerReaderOptions()
        options.hashUncompressed = true
        options.hashCompressed = descriptor != nil
        options.cancel = cancel
        var reader = try blob.reader(format: format, options)
        while let slab = try reader.next() {
            try body(slab.bytes)
            reader.recycle(slab)
        }
        try check(try reader.finish())
    }

    /// Compares what a reader found with what the layer must be.
    package func check(_ summary: LayerSummary) throws(LayerError) {
        if let descriptor, let found = summary.compressedDigest, found != descriptor.digest {
            throw Self.mismatch("the layer has the digest \(found), not \(descriptor.digest)")
        }
        if let found = summary.diffID, found != diffID {
            throw Self.mismatch("the layer's tar has the digest \(found), not \(diffID)")
        }
    }

    private static func mismatch(_ reason: String) -> LayerError {
        LayerError(.digestMismatch, "check the layer", cause: .reason(reason))
    }
}

/// Which of several images.
package struct ImageSelection: Sendable {
    /// A name, a tag, or the digest of a manifest or configuration, of which the first digits do.
    package var reference: String?
    /// What the image must run on; nil for what this machine runs best.
    package var platform: Platform?
    /// The digest that its manifest or configuration must have.
    package var digest: Digest?

    package init(reference: String? = nil, platform: Platform? = nil, digest: Digest? = nil) {
        self.reference = reference
        self.platform = platform
        self.digest = digest
    }
}

/// One image that an archive offers.
package struct ImageCandidate: Sendable {
    /// The names that it goes by, as they stand there.
    package var names: [String]
    /// What the index says that it runs on.
    package var platform: Platform?
    /// The digest of its manifest; nil in archives without.
    package var manifestDigest: Digest?
    /// Whether its manifest is there; indexes may name others.
    package var isPresent: Bool
    /// The number of the entry of the outermost index that led to it: variants of one image have the same.
    var group: Int
    var manifest: ImageDescriptor?
    var saved: ImageDocuments.SavedImage?
    /// Digest of the configuration, by which an id is found.
    var configuration: Digest?
}
