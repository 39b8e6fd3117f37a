import LayerCompression
package import LayerDrivers
package import LayerEngine
package import LayerImages
package import LayerModel
import LinuxIO

/// How an image is unpacked.
package struct ImageUnpackOptions: Sendable {
    /// What the engine is told of each layer; its `cancel` and `progress` are replaced by those below.
    package var apply = ApplyOptions()
    /// Layers that are unpacked at the same time, where the store can do that; nil means one a core.
    package var jobs: Int?
    /// Mode of the root directory if it is made, less the process's umask.
    package var rootMode: UInt32 = 0o755
    package var interruption = Interruption()
    package var progress = ImportProgress()

    package init() {}
}

/// What became of a layer of an image.
package struct UnpackedLayer: Sendable {
    package enum Outcome: String, Sendable {
        case unpacked
        /// It was there already.
        case present
        /// It was unpacked a second time, upon its parent: something in it meant what only the parent could tell.
        case redone
    }

    package var diffID: Digest
    package var chainID: Digest
    package var outcome: Outcome
    /// The layer's size by the driver's rule; 0 for one that was there.
    package var size: UInt64 = 0
    /// Bytes of the layer as they lay in the image.
    package var compressedBytes: UInt64 = 0
    package var report = ApplyReport()
}

/// What an unpacking of an image did.
package struct UnpackedImage: Sendable {
    package var layers: [UnpackedLayer] = []
    /// The uppermost layer in a store; nil for a directory, and for an image without layers.
    package var top: LayerID?
}

/// Unpacks images: all digests of a layer are compared before it shows.
package enum ImageUnpack {
    /// Unpacks the image's layers into the store, each called by its chain ID in hexadecimal digits. One that is there is left.
    ///
    /// Where the store can have it, layers are unpacked at the same time and become part of it from the lowest up. After an
    /// error, and after a kill, the layers that became part of it are there: each is complete, and the next unpacking goes on from
    /// them. Throws `notFound` for a layer that is neither in the image nor in the store, before anything is done, `digestMismatch`,
    /// and what the driver and the engine throw.
    package static func unpack(
        _ image: LayerImage, into driver: any LayerDriver, options: ImageUnpackOptions = ImageUnpackOptions()
    ) throws(LayerError) -> UnpackedImage {
        try StoreUnpack(image, driver, options).run()
    }

    /// Unpacks the image's layers one over the other into the directory `root`, whose last component is made if it is missing.
    ///
    /// A root that was missing or empty appears when it is complete, and is as it was after an error and after a kill. One that
    /// holds something is touched only when all digests were compared, and keeps what was unpacked until an error.
    package static func unpack(
        _ image: LayerImage, to root: PathBytes, options: ImageUnpackOptions = ImageUnpackOptions()
    ) throws(LayerError) -> UnpackedImage {
        try RootUnpack(image, root, options).run()
    }
}

/// One layer of an image on its way in.
struct ImageIntake {
    let layer: ImageLayer
    /// Its place in the image, from 1.
    let number: Int
    let options: ImageUnpackOptions
    /// Stops it because of something else in the image.
    let stop: CancelFlag
    private let box: SourceBox<LayerReader>

    /// Starts to read the layer.
    init(_ layer: ImageLayer, number: Int, _ options: ImageUnpackOptions, stop: CancelFlag) throws(LayerError) {
        self.layer = layer
        self.number = number
        self.options = options
        self.stop = stop
        var reader = LayerReaderOptions()
        reader.hashUncompressed = true
        reader.hashCompressed = layer.descriptor != nil
        reader.maxTrailingBytes = options.apply.maxTrailingBytes
        reader.progress = options.progress.input
        reader.cancel = stop
        box = SourceBox(try layer.present().reader(format: layer.format, reader))
    }

    /// What the engine is told.
    var apply: ApplyOptions {
        var apply = options.apply
        apply.cancel = stop
        return apply
    }

    /// The stream.
    var source: BoxedSource<LayerReader> { BoxedSource(box) }

    /// Reads the stream to its end and compares its digests.
    func verify() throws(LayerError) {
        try box.base.drain()
        try layer.check(try box.base.finish())
        try options.interruption.flag.check("unpack the image")
    }

    /// The error with the layer that it is of. What makes no sense is mostly not what it should be: then that is said.
    func named(_ error: LayerError) -> LayerError {
        guard error.code != .cancelled else { return error }
        var named = error
        if [.invalidArchive, .corruptLayer].contains(error.code), let cause = wrongDigest() { named = cause }
        let which = "layer \(number) (\(layer.descriptor?.digest ?? layer.diffID))"
        named.path = PathBytes(named.path.map { which + ": \($0)" } ?? which)
        return named
    }

    /// The error that the layer is another one than it should be, if it is.
    private func wrongDigest() -> LayerError? {
        guard layer.descriptor != nil else { return nil }
        var options = LayerReaderOptions()
        options.hashCompressed = true
        options.cancel = stop
        do throws(LayerError) {
            var reader = try layer.present().reader(format: LayerFormat.none, options)
            try reader.drain()
            var summary = try reader.finish()
            summary.diffID = nil
            try layer.check(summary)
            return nil
        } catch {
            return error.code == .digestMismatch ? error : nil
        }
    }
}
