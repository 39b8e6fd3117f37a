import LayerModel
import LinuxIO

/// Copies of whole trees inside a store.
extension StoreWriter {
    /// Copies what `source` holds, and its own owner, mode and times, into the directory `target`; with `linking`, files
    /// become further names of the source's.
    func copyContents(
        _ source: PathBytes, to target: PathBytes, linking: Bool, workers: Int?
    ) throws(LayerError) {
        var options = TreeCopyOptions()
        options.mode = linking ? .hardLink : .content
        // Docker keeps capabilities only (K13). The other marks of overlayfs belong to the copied upper directory alone.
        options.attributes = [.portable, .opaque]
        // Inside of a store a layer stays what it is, as it does where names are linked.
        options.followsAttributeRules = false
        options.workers = workers
        options.sourcePath = source
        let from = try attempt("open", source) { () throws(SystemCallError) in try source.open([.readOnly, .directory])
        }
        let into = try attempt("open", target) { () throws(SystemCallError) in try target.open([.readOnly, .directory])
        }
        _ = try TreeCopy.copy(from, to: into, options: options)
    }
}
