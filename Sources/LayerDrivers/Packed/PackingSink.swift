import LayerModel
import LayerPacking
import LinuxIO

/// Packs what is written to it: the difference of a directory of this host.
struct PackingSink: ByteSink, ~Copyable {
    var files: PackedFileSet
    private var packer: LayerPacker?
    private let options: PackOptions
    private(set) var refusal: String?

    init(_ directory: PathBytes, _ options: PackOptions) throws(LayerError) {
        files = try PackedFileSet(directory)
        files.isMadeHere = true
        packer = LayerPacker(options)
        self.options = options
    }

    mutating func write(_ bytes: RawSpan) throws(LayerError) {
        guard refusal == nil, var packer = packer.take() else { return }
        try files.take(bytes)
        refusal = try files.step(bytes, &packer, hasParent: false)
        self.packer = consume packer
    }

    mutating func finish() throws(LayerError) {
        guard refusal == nil, let packer = packer.take() else { return }
        let diffID = try files.endTar()
        refusal = try files.finish(packer, options, diffID) { (report, _) in
            report.isRootOpaque ? "it hides all layers below it" : nil
        }
    }
}

extension StoreFiles {
    /// Whether the directory has attributes that an empty one in its place would lack.
    static func hasAttributes(_ contents: PathBytes) throws(LayerError) -> Bool {
        try attempt("read the attributes of", contents) { () throws(SystemCallError) in
            try StoreFiles.withParent(contents) { (parent, name) throws(SystemCallError) in
                var reader = AttributeReader()
                let total = try reader.list(of: name, in: parent)
                var position = 0
                while position < total {
                    let name = reader.name(at: position).copied()
                    position += name.count + 1
                    let marks = ["trusted.overlay.", "user.overlay."]
                    let isMark = marks.contains { name.starts(with: Array($0.utf8)) }
                    if !isMark, name != Array("security.selinux".utf8) { return true }
                }
                return false
            }
        }
    }
}
