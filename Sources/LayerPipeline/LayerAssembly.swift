import LayerCompression
package import LayerFormats
package import LayerModel
package import LinuxIO

/// Rebuilds the tar of a layer that was unpacked.
package enum LayerAssembly {
    /// Writes the tar that `metadata` describes to `output`, with the contents of files in the directory `root`.
    ///
    /// The metadata may be compressed in any way. Throws `digestMismatch` for a file that changed; nothing is left of an
    /// output file then.
    package static func assemble(
        _ metadata: LayerInput, root: PathBytes, to output: OutputFile, interruption: Interruption = Interruption(),
        progress: Progress? = nil
    ) throws(LayerError) -> TarSplitAssembly {
        let layer = try OpenLayer(metadata)
        let tree = try attempt("open the root", root) { () throws(SystemCallError) in
            try root.open([.readOnly, .directory])
        }
        var readerOptions = LayerReaderOptions()
        readerOptions.cancel = interruption.flag
        var options = TarSplitAssemblerOptions()
        options.cancel = interruption.flag
        options.progress = progress
        var reader = try layer.reader(options: readerOptions)
        var sink = OutputSink(output)
        let report: TarSplitAssembly
        do throws(LayerError) {
            report = try TarSplitAssembler.assemble(&reader, root: tree, into: &sink, options: options)
        } catch {
            guard error.path == nil, error.code == .corruptLayer || error.code == .invalidArchive else { throw error }
            var named = error
            named.path = layer.path
            throw named
        }
        try output.commit()
        return report
    }
}
