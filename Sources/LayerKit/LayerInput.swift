public import LayerModel
import LinuxIO

/// Where a layer is read from.
public enum LayerInput: Sendable {
    /// Standard input: a pipe, or a file from where it stands.
    case standardInput
    case file(PathBytes)
}

/// An input that is open.
final class OpenLayer {
    let descriptor: OwnedDescriptor
    /// What errors call it.
    let path: PathBytes
    /// Bytes to read, 0 where nobody knows.
    let size: UInt64
    /// Where to begin again; nil where the input can be read only once.
    let start: Int64?

    init(_ input: LayerInput) throws(LayerError) {
        path = Self.displayPath(input)
        let opened = try Self.open(input)
        let metadata = try attempt("look at", path) { () throws(SystemCallError) in try opened.metadata() }
        guard metadata.kind != .directory else {
            throw LayerError(.notFound, "read", path: path, cause: .reason("it is a directory, not a layer"))
        }
        if metadata.kind == .regular, let position = try? opened.seek(0, .current) {
            start = position
            size = UInt64(max(0, metadata.size - position))
        } else {
            opened.widenPipe(to: 1 << 20)
            start = nil
            size = 0
        }
        descriptor = opened
    }

    private static func displayPath(_ input: LayerInput) -> PathBytes {
        switch input {
        case .standardInput: PathBytes("standard input")
        case .file(let path): path
        }
    }

    private static func open(_ input: LayerInput) throws(LayerError) -> OwnedDescriptor {
        switch input {
        case .file(let path):
            return try attempt("open", path) { () throws(SystemCallError) in try path.open(.readOnly) }
        case .standardInput:
            let standard = OwnedDescriptor(adopting: 0)
            let copy = try? standard.duplicate()
            // Standard input stays open: this code does not own it.
            _ = standard.relinquish()
            guard let copy else {
                throw LayerError(
                    .notFound, "read", path: displayPath(input), cause: .reason("it is closed"))
            }
            return copy
        }
    }

    /// Goes back to the beginning of an input that can be read again.
    func rewind() throws(LayerError) {
        guard let start else { return }
        _ = try attempt("read", path) { () throws(SystemCallError) in try descriptor.seek(start, .start) }
    }
}
