package import LayerDrivers
package import LayerEngine
package import LayerModel
package import LinuxIO

/// A layer of a store, and what it is compared with.
package struct StoreLayer: Sendable {
    /// The store.
    package var store: any StoreReader
    package var id: LayerID
    /// The layer that the difference begins at: the layer's own parent, another of its ancestors, or nil for everything.
    package var parent: LayerID?

    package init(_ id: LayerID, since parent: LayerID?, in store: any StoreReader) {
        self.store = store
        self.id = id
        self.parent = parent
    }

    /// The layer with the parent that the store names.
    ///
    /// Throws `notFound` for an unknown layer.
    package init(_ id: LayerID, in store: any StoreReader) throws(LayerError) {
        self.init(id, since: try store.parent(of: id), in: store)
    }
}

/// Gets layers and what is known of them out of stores, the same for every driver.
package enum StoreExport {
    /// Writes the difference of `layer` to `output` and gives a file its name, and its tar-split metadata to `tarSplit`.
    ///
    /// The id maps are the store's. Throws `notFound` for an unknown layer, and what `LayerExport.write` throws.
    package static func write(
        _ layer: StoreLayer, to output: OutputFile, tarSplit: OutputFile? = nil,
        options: LayerExportOptions = LayerExportOptions(), filter: LayerFilter? = nil,
        cancel: CancelFlag = CancelFlag(), progress: Progress? = nil
    ) throws(LayerError) -> LayerExportReport {
        try LayerExport.write(
            layerOf: StoreProducer(layer, cancel, progress, filter), to: output, tarSplit, options)
    }

    /// Writes the changes of `layer` to `output`, sorted by path bytes; see `LayerDifference.list`.
    @discardableResult
    package static func list(
        _ layer: StoreLayer, options: DifferenceOptions = DifferenceOptions(), format: ChangeListFormat,
        to output: OutputFile, prefix: String = "", suffix: (ChangesReport) -> String = { _ in "" }
    ) throws(LayerError) -> ChangesReport {
        try LayerDifference.list(format: format, to: output, options.cancel, prefix: prefix, suffix: suffix) {
            (body) throws(LayerError) in
            try layer.store.changes(layer.id, since: layer.parent, options: options, body)
        }
    }
}

/// A layer of a store on its way out.
package struct StoreProducer: LayerProducer {
    let layer: StoreLayer
    let filter: LayerFilter?
    package let cancel: CancelFlag
    let progress: Progress?

    package init(
        _ layer: StoreLayer, _ cancel: CancelFlag, _ progress: Progress? = nil, _ filter: LayerFilter? = nil
    ) {
        self.layer = layer
        self.filter = filter
        self.cancel = cancel
        self.progress = progress
    }

    package var workers: Int? { layer.store.configuration.workers }

    package func produce<Sink: ByteSink & ~Copyable>(_ options: DiffOptions, into sink: inout Sink) throws(LayerError)
        -> DiffReport
    {
        var difference = DifferenceOptions()
        difference.diff = options
        difference.filter = filter
        difference.cancel = cancel
        difference.progress = progress
        return try layer.store.diff(layer.id, since: layer.parent, options: difference, into: &sink)
    }
}
