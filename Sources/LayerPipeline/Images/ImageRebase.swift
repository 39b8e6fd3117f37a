package import LayerImages
package import LayerModel
import LinuxIO
import PlainJSON
import Synchronization

/// An image's own layers upon another base.
package enum ImageRebase {
    /// Writes the layers of `new` and those of `image` above the ones of `old`, with the image's configuration.
    ///
    /// Throws `invalidArgument` where the image does not lie upon `old`.
    package static func write(
        _ image: LayerImage, from old: LayerImage, onto new: LayerImage, to output: any ImageOutput,
        options: ImagePackOptions, progress: ImportProgress = ImportProgress()
    ) throws(LayerError) -> PackedImage {
        let ids = image.layers.map(\.diffID)
        let below = old.layers.map(\.diffID)
        guard ids.starts(with: below) else {
            let shared = zip(ids, below).prefix { $0 == $1 }.count
            throw LayerError(
                .invalidArgument, "rebase the image",
                cause: .reason("it does not lie upon the old base: of \(below.count) layers \(shared) are the same"))
        }
        var layers: [ImageLayerSource] = []
        let all = new.layers + image.layers.dropFirst(below.count)
        // A layer that is there twice is written once.
        var seen: Set<Digest> = []
        let total = all.reduce(0 as UInt64) { seen.insert($1.diffID).inserted ? $0 + ($1.blob?.byteCount ?? 0) : $0 }
        progress.inputTotal.store(total, ordering: .relaxed)
        for layer in all {
            var source = try ImagePackJob.source(layer)
            source.descriptor.mediaType = source.descriptor.mediaType.layer(inDockerWords: options.isDocker)
            let isOmitted = options.since?.layers.contains { $0.diffID == layer.diffID } == true
            source.blob?.progress = progress.input
            if isOmitted { source.blob = nil } else { _ = try layer.present() }
            try options.interruption.flag.check("rebase the image")
            try output.add(source)
            layers.append(source)
        }
        var change = options.change
        change.diffIDs = layers.map(\.diffID)
        change.platform = new.platform
        let own = try ImageChange.history(of: image.configuration.bytes)
        let skipped = try ImageChange.history(of: old.configuration.bytes).count
        change.history = try ImageChange.history(of: new.configuration.bytes) + own.dropFirst(skipped)
        let planned = try PlannedImage(
            configuration: try change.applied(to: image.configuration.bytes), platform: new.platform, layers: layers,
            names: options.names, annotations: options.annotations + annotations(new), isDocker: options.isDocker)
        try output.finish(planned)
        return PackedImage(
            id: planned.id, manifestDigest: planned.manifestDigest,
            layers: layers.map {
                PackedImage.Layer(
                    diffID: $0.diffID, descriptor: $0.descriptor, isOmitted: $0.blob == nil, isNew: false)
            }, warnings: try warnings(image, old, new))
    }

    private static func annotations(_ base: LayerImage) -> [ImageAnnotation] {
        var annotations: [ImageAnnotation] = []
        if let digest = base.manifestDigest {
            annotations.append(ImageAnnotation("org.opencontainers.image.base.digest", digest.description))
        }
        if let name = base.names.first {
            annotations.append(ImageAnnotation("org.opencontainers.image.base.name", name))
        }
        return annotations
    }

    /// Variables that the image has from its old base, and the new one says otherwise.
    private static func warnings(
        _ image: LayerImage, _ old: LayerImage, _ new: LayerImage
    ) throws(LayerError) -> [String] {
        let theirs = Set(try ImageChange.environment(of: old.configuration.bytes))
        let newer = Set(try ImageChange.environment(of: new.configuration.bytes))
        return try ImageChange.environment(of: image.configuration.bytes).filter {
            theirs.contains($0) && !newer.contains($0)
        }.map { "\($0) is the old base's, and the new one has it otherwise or not at all" }
    }
}
