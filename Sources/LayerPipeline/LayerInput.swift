package import LayerCompression
import LayerFormats
package import LayerModel
import LinuxIO

/// Where a layer is read from.
package enum LayerInput: Sendable {
    /// Standard input: a pipe, or a file from where it stands.
    case standardInput
    case file(PathBytes)
    /// An open descriptor, read from where it stands; it stays its owner's.
    case descriptor(Int32)
    /// Bytes that somebody else reads.
    case foreign(any ForeignInput)
}

/// An input that is open.
final class OpenLayer {
    private enum Bytes {
        case descriptor(SharedDescriptor)
        case foreign(any ForeignInput)
    }

    private let bytes: Bytes
    /// What errors call it.
    let path: PathBytes
    /// Bytes to read, 0 where nobody knows.
    let size: UInt64
    /// Where to begin again; nil where the input can be read only once.
    let start: Int64?

    init(_ input: LayerInput, called given: PathBytes? = nil) throws(LayerError) {
        path = given ?? Self.displayPath(input)
        if case .foreign(let foreign) = input {
            bytes = .foreign(foreign)
            size = 0
            start = foreign is any RewindableInput ? 0 : nil
            return
        }
        let opened = try Self.open(input)
        let metadata = try attempt("look at", path) { () throws(SystemCallError) in try opened.metadata() }
        guard metadata.kind != .directory else {
            throw LayerError(.invalidArchive, "read", path: path, cause: .reason("it is a directory, not a layer"))
        }
        if metadata.kind == .regular, let position = try? opened.seek(0, .current) {
            start = position
            size = UInt64(max(0, metadata.size - position))
        } else {
            opened.widenPipe(to: 1 << 20)
            start = nil
            size = 0
        }
        bytes = .descriptor(SharedDescriptor(opened))
    }

    /// Reads, decompresses and hashes it from where it stands.
    func reader(format: LayerFormat? = nil, options: LayerReaderOptions) throws(LayerError) -> LayerReader {
        switch bytes {
        case .descriptor(let descriptor):
            var told = options
            // The table of eStargz says where its members begin, whether or not anybody would trust it otherwise.
            if start == 0, format == nil || format == .gzip {
                told.memberStarts = LayerIndex.memberStarts(descriptor.descriptor)
            }
            return try LayerReader(descriptor: descriptor.descriptor.number, format: format, options: told)
        case .foreign(let input): return try LayerReader(input, format: format, options: options)
        }
    }

    private static func displayPath(_ input: LayerInput) -> PathBytes {
        switch input {
        case .standardInput: PathBytes("standard input")
        case .file(let path): path
        case .descriptor(let number): PathBytes("descriptor \(number)")
        case .foreign(let input):
            (input as? any RewindableInput)?.displayPath ?? PathBytes("the layer's source")
        }
    }

    private static func open(_ input: LayerInput) throws(LayerError) -> OwnedDescriptor {
        switch input {
        case .file(let path):
            return try attempt("open", path) { () throws(SystemCallError) in try path.open(.readOnly) }
        case .standardInput: return try copy(of: 0, input)
        case .descriptor(let number): return try copy(of: number, input)
        case .foreign: preconditionFailure("it has no descriptor")
        }
    }

    /// A descriptor of our own for one that is somebody else's.
    private static func copy(of number: Int32, _ input: LayerInput) throws(LayerError) -> OwnedDescriptor {
        let given = OwnedDescriptor(adopting: number)
        let copy = try? given.duplicate()
        // It stays open: this code does not own it.
        _ = given.relinquish()
        guard let copy else {
            throw LayerError(.notFound, "read", path: displayPath(input), cause: .reason("it is closed"))
        }
        return copy
    }

    /// Goes back to the beginning of an input that can be read again.
    func rewind() throws(LayerError) {
        guard let start else { return }
        guard case .descriptor(let descriptor) = bytes else {
            if case .foreign(let input) = bytes { try (input as? any RewindableInput)?.rewind() }
            return
        }
        _ = try attempt("read", path) { () throws(SystemCallError) in try descriptor.descriptor.seek(start, .start) }
    }

    /// Throws `digestMismatch` where the stream was not what is expected.
    func verify(_ summary: LayerSummary, _ digest: Digest?, _ diffID: Digest?) throws(LayerError) {
        try compare("digest", summary.compressedDigest, digest)
        try compare("DiffID", summary.diffID, diffID)
    }

    private func compare(_ what: String, _ found: Digest?, _ expected: Digest?) throws(LayerError) {
        guard let expected, found != expected else { return }
        throw LayerError(
            .digestMismatch, "verify", path: path,
            cause: .reason("the \(what) is \(found?.description ?? "unknown"), not the expected \(expected)"))
    }

    /// The error with the layer's path where it names none.
    func named(_ error: LayerError) -> LayerError {
        guard error.path == nil, error.code != .cancelled else { return error }
        var named = error
        named.path = path
        return named
    }
}
