import LayerCompression
import LayerEngine
import LayerImages
import LayerModel
import LinuxIO

/// Layers unpacked into a directory of our own, to be read as one.
final class LayerSquash {
    private let options: ImagePackOptions
    private let path: PathBytes
    private let lower: PathBytes
    private let upper: PathBytes
    private var hasLower = false
    private var number = 0

    init(_ options: ImagePackOptions) throws(LayerError) {
        self.options = options
        path = options.scratch.appending(TemporaryName.next("squash-"))
        (lower, upper) = (path.appending("lower"), path.appending("upper"))
        for directory in [path, lower, upper] {
            try attempt("create", directory, as: .cannotCreate) { () throws(SystemCallError) in
                let here = try PathBytes(".").open([.readOnly, .directory])
                try directory.withName { (name) throws(SystemCallError) in
                    try here.makeDirectory(name, mode: directory == path ? 0o700 : 0o755)
                }
            }
        }
    }

    /// Unpacks the layers that stay, below.
    func apply(below layers: [ImageLayer]) throws(LayerError) {
        for layer in layers {
            hasLower = true
            try unpack(layer, into: lower, .tree, nil)
        }
    }

    /// Unpacks one of those that become one.
    func apply(_ layer: ImageLayer) throws(LayerError) {
        if hasLower {
            try unpack(layer, into: upper, .overlay, [lower])
        } else {
            try unpack(layer, into: upper, .tree, nil)
        }
    }

    private func unpack(
        _ layer: ImageLayer, into path: PathBytes, _ dialect: WhiteoutDialect.Name, _ lowers: [PathBytes]?
    ) throws(LayerError) {
        number += 1
        var unpack = ImageUnpackOptions()
        unpack.interruption = options.interruption
        unpack.apply.workers = options.workers
        unpack.apply.dialect = WhiteoutDialect(dialect)
        unpack.apply.lowers = lowers
        // The same layers give the same bytes, whenever.
        unpack.apply.impliedTime = 0
        let intake = try ImageIntake(layer, number: number, unpack, stop: options.interruption.flag)
        let root = try attempt("open", path) { () throws(SystemCallError) in try path.open([.readOnly, .directory]) }
        do throws(LayerError) {
            var source = intake.source
            _ = try ApplyEngine.apply(&source, root: root, options: intake.apply)
            try intake.verify()
        } catch {
            throw intake.named(error)
        }
    }

    /// What has become of them.
    var source: SourceOptions {
        var source = SourceOptions(upper: upper)
        if hasLower {
            source.lowers = [lower]
            source.dialect = WhiteoutDialect(.overlay)
        }
        source.workers = options.workers
        source.cancel = options.interruption.flag
        source.progress = options.progress
        return source
    }

    func remove() throws(LayerError) { try TreeRemoval.remove(path) }
}
