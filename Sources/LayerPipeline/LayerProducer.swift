package import LayerEngine
package import LayerModel
package import LinuxIO

/// What a layer is made of: trees, or a layer of a store. The way out is the same for both (`LayerExport`).
package protocol LayerProducer {
    /// Threads that walk and read; nil means one a core.
    var workers: Int? { get }
    var cancel: CancelFlag { get }

    /// Writes the layer's tar into `sink`, which is not finished.
    func produce<Sink: ByteSink & ~Copyable>(_ options: DiffOptions, into sink: inout Sink) throws(LayerError)
        -> DiffReport
}

extension SourceOptions: LayerProducer {
    package func produce<Sink: ByteSink & ~Copyable>(_ options: DiffOptions, into sink: inout Sink) throws(LayerError)
        -> DiffReport
    {
        try DiffEngine.write(self, options: options, into: &sink)
    }
}
