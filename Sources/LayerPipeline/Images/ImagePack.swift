package import LayerCompression
package import LayerEngine
package import LayerImages
package import LayerModel
package import LinuxIO
import PlainJSON

/// What a new layer of an image is made of.
package enum PackSource: Sendable {
    /// A tree, or an upper directory over others.
    case tree(SourceOptions)
    /// A layer of a store.
    case store(StoreLayer)
    /// A layer in a file, compressed or not.
    case archive(PathBytes)
}

/// Which layers become one.
package enum SquashRange: Sendable, Equatable {
    case last(Int)
    /// Those above the base.
    case new
    case all
}

/// How an image is packed.
package struct ImagePackOptions: Sendable {
    /// nil: zstd where the base's last layer is, else gzip; a layer in a file stays as it is.
    package var compression: LayerFormat?
    package var level: Int?
    package var workers: Int?
    package var diff = DiffOptions()
    package var names: [String] = []
    /// Docker's media types, instead of OCI's.
    package var isDocker = false
    package var annotations: [ImageAnnotation] = []
    /// What the configuration says beside layers and history. Without a time it gets that of the newest file.
    package var change = ImageChange()
    package var squash: SquashRange?
    /// The receiver has this image: its layers are left out.
    package var since: LayerImage?
    /// How the base is called.
    package var baseName: String?
    /// Where layers lie meanwhile that cannot go to their place at once.
    package var scratch = PathBytes("/var/tmp")
    package var interruption = Interruption()
    package var progress = Progress()

    package init() {}
}

/// What a packing wrote.
package struct PackedImage: Sendable {
    package struct Layer: Sendable {
        package var diffID: Digest
        package var descriptor: ImageDescriptor
        /// It was left out, since the receiver has it.
        package var isOmitted: Bool
        package var isNew: Bool
    }

    package var id: Digest
    package var manifestDigest: Digest
    package var layers: [Layer]
    package var entries = 0
    package var warnings: [String] = []
}

/// Packs layers into images. The same layers give the same bytes, whoever packs them, when and with how many threads.
package enum ImagePack {
    /// Writes the image of the base's layers and those of `sources`, from the lowest up, to `output`.
    ///
    /// Throws what exports, the output and the base's blobs throw. Nothing that is an image is left then.
    package static func write(
        _ sources: [PackSource], on base: LayerImage?, to output: any ImageOutput, options: ImagePackOptions
    ) throws(LayerError) -> PackedImage {
        var job = ImagePackJob(base, output, options)
        return try job.run(sources)
    }
}

/// One packing under way.
struct ImagePackJob {
    private let base: LayerImage?
    private let output: any ImageOutput
    private let options: ImagePackOptions
    private let format: LayerFormat
    private let isDocker: Bool
    private var layers: [ImageLayerSource] = []
    private var isNew: [Bool] = []
    private var newest: Int64?
    private var result: PackedImage?
    private var entries = 0
    private var warnings: [String] = []

    init(_ base: LayerImage?, _ output: any ImageOutput, _ options: ImagePackOptions) {
        self.base = base
        self.output = output
        self.options = options
        format = options.compression ?? (base?.layers.last?.format == .zstd ? .zstd : .gzip)
        isDocker = options.isDocker && format != .zstd
    }

    mutating func run(_ sources: [PackSource]) throws(LayerError) -> PackedImage {
        var history =
            try base.map { (base) throws(LayerError) in
                try ImageChange.history(of: base.configuration.bytes)
            } ?? []
        let added = sources.map { _ in ImageChange.History(createdBy: "ldiff image pack") }
        let total = (base?.layers.count ?? 0) + sources.count
        let squashed = try squashedCount(total, sources.count)
        let kept = total - squashed
        for layer in (base?.layers ?? []).prefix(squashed > 0 ? kept : total) { try add(layer) }
        if squashed == 0 {
            for source in sources { try add(source) }
        } else {
            let below = max(0, kept - (base?.layers.count ?? 0))
            for source in sources.prefix(below) { try add(source) }
            try addSquashed(Array(sources.dropFirst(below)), kept: kept)
        }
        let created = options.change.created ?? newest
        for entry in added { history.append(Self.entry(entry, created)) }
        if squashed > 0 {
            Self.empty(&history, last: squashed)
            let text = ImageChange.History(
                createdBy: "ldiff image pack --squash", comment: "\(squashed) layers merged into one")
            history.append(Self.entry(text, created))
        }
        return try finish(created, history)
    }

    private static func entry(_ entry: ImageChange.History, _ created: Int64?) -> JSONValue {
        var entry = entry
        entry.created = created.map(ImageTimes.text)
        return ImageChange.entry(entry)
    }

    /// The last entries that stand for layers stand for none any more.
    private static func empty(_ history: inout [JSONValue], last count: Int) {
        var left = count
        for index in history.indices.reversed() where left > 0 && ImageChange.isLayer(history[index]) {
            history[index] = ImageChange.emptied(history[index])
            left -= 1
        }
    }

    private func squashedCount(_ total: Int, _ new: Int) throws(LayerError) -> Int {
        let count =
            switch options.squash {
            case nil: 0
            case .new: new
            case .all: total
            case .last(let count): count
            }
        guard count <= total else {
            throw LayerError(
                .invalidArgument, "squash", cause: .reason("there are \(total) layers, not \(count)"))
        }
        return count
    }

    // MARK: layers

    /// A layer of the base, as it is.
    private mutating func add(_ layer: ImageLayer) throws(LayerError) {
        var source = try ImagePackJob.source(layer)
        source.descriptor.mediaType = source.descriptor.mediaType.layer(inDockerWords: isDocker)
        if let since = options.since?.layers.first(where: { $0.diffID == layer.diffID }) {
            source.blob = nil
            if let theirs = since.descriptor { source.descriptor = theirs }
            source.descriptor.mediaType = source.descriptor.mediaType.layer(inDockerWords: isDocker)
        } else {
            _ = try layer.present()
        }
        try options.interruption.flag.check("pack the image")
        try output.add(source)
        layers.append(source)
        isNew.append(false)
    }

    /// What has to be said of a layer, also where its image does not say it.
    static func source(_ layer: ImageLayer) throws(LayerError) -> ImageLayerSource {
        if let descriptor = layer.descriptor {
            return ImageLayerSource(descriptor, diffID: layer.diffID, blob: layer.blob)
        }
        let blob = try layer.present()
        var digest = layer.diffID
        if layer.format != LayerFormat.none {
            var options = LayerReaderOptions()
            options.hashCompressed = true
            var reader = try blob.reader(format: LayerFormat.none, options)
            try reader.drain()
            digest = try reader.finish().compressedDigest ?? digest
        }
        guard let type = MediaType.layer(layer.format) else {
            throw LayerError(
                .unsupported, "pack the image", cause: .reason("images have no layers of \(layer.format.name)"))
        }
        return ImageLayerSource(
            ImageDescriptor(type, digest, size: Int64(blob.byteCount)), diffID: layer.diffID, blob: blob)
    }

    private var exportOptions: LayerExportOptions {
        var export = LayerExportOptions()
        export.compression = format
        export.level = options.level
        export.digests = true
        export.compressionWorkers = options.workers
        export.diff = options.diff
        return export
    }

    private mutating func add(_ source: PackSource) throws(LayerError) {
        switch source {
        case .tree(let tree): try add(exported: tree)
        case .store(let layer): try add(exported: StoreProducer(layer, options.interruption.flag, options.progress))
        case .archive(let path): try add(try PackedArchive(path, options.interruption.flag))
        }
    }

    private mutating func add(exported producer: some LayerProducer) throws(LayerError) {
        let (export, isDocker) = (exportOptions, isDocker)
        var written: LayerExportReport?
        let layer = try output.addNew(omitting: omitted) { (file) throws(LayerError) in
            let report = try LayerExport.write(
                layerOf: producer, into: OutputSink(try .descriptor(file.number, called: PathBytes("the image"))),
                options: export)
            written = report
            return try Self.layer(report, isDocker)
        }
        if let written {
            entries += written.layer.entries
            warnings += written.layer.warnings
            if let time = written.layer.newestTime { newest = max(newest ?? time, time) }
        }
        append(layer)
    }

    /// A layer in a file: its bytes as they are, unless another compression is asked for.
    private mutating func add(_ archive: PackedArchive) throws(LayerError) {
        if let time = archive.newestTime { newest = max(newest ?? time, time) }
        entries += archive.entries
        if let wanted = options.compression, wanted != archive.summary.format {
            let (export, isDocker) = (exportOptions, isDocker)
            append(
                try output.addNew(omitting: omitted) { (file) throws(LayerError) in
                    let report = try LayerExport.write(
                        layerOf: archive,
                        into: OutputSink(try .descriptor(file.number, called: PathBytes("the image"))),
                        options: export)
                    return try Self.layer(report, isDocker)
                })
            return
        }
        let descriptor = try archive.descriptor(isDocker)
        append(
            try output.addNew(omitting: omitted) { (file) throws(LayerError) in
                try archive.copy(into: file)
                return WrittenLayer(descriptor, diffID: archive.diffID)
            })
    }

    private static func layer(_ report: LayerExportReport, _ isDocker: Bool) throws(LayerError) -> WrittenLayer {
        guard let digest = report.outputDigest, let diffID = report.diffID else {
            preconditionFailure("digests were asked for")
        }
        let type = MediaType(report.mediaType).layer(inDockerWords: isDocker)
        return WrittenLayer(ImageDescriptor(type, digest, size: Int64(report.outputBytes)), diffID: diffID)
    }

    private var omitted: Set<Digest> { Set(options.since?.layers.map(\.diffID) ?? []) }

    private mutating func append(_ layer: ImageLayerSource) {
        layers.append(layer)
        isNew.append(true)
    }

    // MARK: squashing

    /// One layer for those above the first `kept`: the base's that are left, and `sources`.
    private mutating func addSquashed(_ sources: [PackSource], kept: Int) throws(LayerError) {
        let old = (base?.layers ?? []).dropFirst(kept)
        if old.isEmpty, let whole = Self.inOneStore(sources) { return try add(.store(whole)) }
        let squash = try LayerSquash(options)
        do throws(LayerError) {
            try squash.apply(below: try layers.map { (layer) throws(LayerError) in try Self.layer(of: layer, options) })
            for layer in old { try squash.apply(layer) }
            for source in sources {
                let spool = ImageSpoolOutput(spool: options.scratch) { (_) throws(LayerError) in }
                var plain = options
                plain.compression = LayerFormat.none
                plain.since = nil
                var job = ImagePackJob(nil, spool, plain)
                try job.add(source)
                for layer in job.layers { try squash.apply(try Self.layer(of: layer, options)) }
            }
            try add(exported: squash.source)
            try squash.remove()
        } catch {
            try? squash.remove()
            throw error
        }
    }

    /// The layer of a store that stands for all of them, if they lie upon each other there.
    private static func inOneStore(_ sources: [PackSource]) -> StoreLayer? {
        var whole: StoreLayer?
        for source in sources {
            guard case .store(let layer) = source else { return nil }
            if let below = whole {
                guard layer.parent == below.id, layer.store === below.store else { return nil }
                whole = StoreLayer(layer.id, since: below.parent, in: layer.store)
            } else {
                whole = layer
            }
        }
        return whole
    }

    private static func layer(of source: ImageLayerSource, _ options: ImagePackOptions) throws(LayerError) -> ImageLayer
    {
        let theirs = options.since?.layers.first { $0.diffID == source.diffID }
        return ImageLayer(
            diffID: source.diffID, chainID: source.diffID,
            descriptor: source.blob == nil ? theirs?.descriptor : source.descriptor,
            blob: source.blob ?? theirs?.blob, format: source.descriptor.mediaType.layerFormat ?? LayerFormat.none)
    }

    // MARK: documents

    private func finish(_ created: Int64?, _ history: [JSONValue]) throws(LayerError) -> PackedImage {
        var change = options.change
        change.created = created
        change.diffIDs = layers.map(\.diffID)
        change.history = history
        let platform = change.platform ?? base?.platform ?? Platform.current
        if base == nil { change.created = created ?? 0 }
        let configuration = try change.applied(
            to: base?.configuration.bytes ?? ImageChange.newConfiguration(platform, created: created ?? 0))
        var annotations = options.annotations
        if let base, options.squash != .all {
            if let digest = base.manifestDigest {
                annotations.append(ImageAnnotation("org.opencontainers.image.base.digest", digest.description))
            }
            if let name = options.baseName ?? base.names.first {
                annotations.append(ImageAnnotation("org.opencontainers.image.base.name", name))
            }
        }
        let image = try PlannedImage(
            configuration: configuration, platform: platform, layers: layers, names: options.names,
            annotations: annotations, isDocker: isDocker)
        try options.interruption.flag.check("pack the image")
        try output.finish(image)
        return PackedImage(
            id: image.id, manifestDigest: image.manifestDigest,
            layers: zip(layers, isNew).map { layer, isNew in
                PackedImage.Layer(
                    diffID: layer.diffID, descriptor: layer.descriptor, isOmitted: layer.blob == nil, isNew: isNew)
            }, entries: entries, warnings: warnings)
    }
}
