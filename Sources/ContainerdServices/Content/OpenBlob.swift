import Foundation
import LayerModel
import LinuxIO

/// A blob that is open for reading, from its beginning.
final class OpenBlob: Sendable {
    let descriptor: OwnedDescriptor
    /// What errors call it.
    let path: PathBytes

    init(_ descriptor: consuming OwnedDescriptor, path: PathBytes) {
        self.descriptor = descriptor
        self.path = path
    }

    /// The file at `path`; nil where there is none that could be read. Blocks.
    static func file(at path: PathBytes) -> OpenBlob? {
        guard let file = try? path.openRegular() else { return nil }
        return OpenBlob(file, path: path)
    }

    /// An empty file without a name in `directory`, called `path` in errors. Blocks.
    static func scratch(in directory: PathBytes, path: PathBytes) throws(LayerError) -> OpenBlob {
        let file = try attempt("create a file in", directory) { () throws(SystemCallError) in
            try directory.withName { (name) throws(SystemCallError) in
                try OwnedDescriptor.open(name, [.unnamed, .readWrite], mode: 0o600)
            }
        }
        return OpenBlob(file, path: path)
    }

    /// Writes on. Blocks.
    func append(_ data: Data) throws(LayerError) {
        let bytes = [UInt8](data)
        try attempt("keep", path) { () throws(SystemCallError) in try descriptor.writeAll(bytes.rawBytes) }
    }

    /// Goes back to the beginning.
    func rewind() throws(LayerError) {
        _ = try attempt("read", path) { () throws(SystemCallError) in try descriptor.seek(0, .start) }
    }
}
