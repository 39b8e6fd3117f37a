import LayerCompression
import LayerModel
import LayerPipeline
import LinuxIO
public import SystemPackage

/// Bytes of a layer that a program reads itself, from a network connection for instance.
public protocol LayerByteSource: Sendable {
    /// Appends the next bytes to `buffer`, as many as it has room for at most; none at the end of the stream.
    ///
    /// Called by one thread at a time, which is the library's; it may wait. What it throws ends the job and is its error,
    /// in the words of `LayerError` if it is none.
    func read(into buffer: inout OutputRawSpan) throws
}

/// Takes the bytes of a layer that a program sends on itself.
public protocol LayerByteSink: Sendable {
    /// Takes all of `bytes`, which are valid during the call.
    ///
    /// Called by one thread at a time, in the order of the stream; it may wait. What it throws ends the job.
    func write(_ bytes: RawSpan) throws

    /// Says that the stream is complete. Not called after an error: then what came is no layer.
    func finish() throws
}

/// Where a layer is read from. Its compression is recognised by its first bytes.
public struct LayerSource: Sendable {
    let input: LayerInput

    /// The file at `path`, or the pipe or device that it names.
    public static func file(_ path: FilePath) -> LayerSource { LayerSource(input: .file(PathBytes(path))) }

    /// An open descriptor, read from where it stands; it stays the caller's, who keeps it open until the job is done.
    public static func descriptor(_ descriptor: FileDescriptor) -> LayerSource {
        LayerSource(input: .descriptor(descriptor.rawValue))
    }

    /// Bytes that `source` reads.
    public static func stream(_ source: any LayerByteSource) -> LayerSource {
        LayerSource(input: .foreign(SourceAdapter(source)))
    }
}

/// Where a layer is written.
public struct LayerOutput: Sendable {
    enum Place: Sendable {
        case file(PathBytes)
        case descriptor(Int32)
        case stream(any LayerByteSink)
    }

    let place: Place

    /// The file at `path`, which appears, or is replaced, when the layer is complete; after an error what was there before
    /// is there still. Pipes and devices are written to as they are.
    public static func file(_ path: FilePath) -> LayerOutput { LayerOutput(place: .file(PathBytes(path))) }

    /// An open descriptor, written to from where it stands; it stays the caller's, who keeps it open until the job is done.
    public static func descriptor(_ descriptor: FileDescriptor) -> LayerOutput {
        LayerOutput(place: .descriptor(descriptor.rawValue))
    }

    /// Bytes that `sink` takes.
    public static func stream(_ sink: any LayerByteSink) -> LayerOutput { LayerOutput(place: .stream(sink)) }

    /// The file or descriptor, nil for a stream.
    func open() throws(LayerError) -> OutputFile? {
        switch place {
        case .file(let path): try OutputFile.file(at: path)
        case .descriptor(let number):
            try OutputFile.descriptor(number, called: PathBytes("descriptor \(number)"))
        case .stream: nil
        }
    }
}

/// A caller's source as the reader's threads see it.
private struct SourceAdapter: ForeignInput {
    private let source: any LayerByteSource

    init(_ source: any LayerByteSource) { self.source = source }

    func read(into buffer: inout OutputRawSpan) throws(LayerError) {
        do { try source.read(into: &buffer) } catch { throw LayerError(foreign: error, "read the layer") }
    }
}

/// A caller's sink as the pipeline sees it.
struct SinkAdapter: ByteSink, ~Copyable {
    private let sink: any LayerByteSink

    init(_ sink: any LayerByteSink) { self.sink = sink }

    mutating func write(_ bytes: RawSpan) throws(LayerError) {
        do { try sink.write(bytes) } catch { throw LayerError(foreign: error, "write the layer") }
    }

    mutating func finish() throws(LayerError) {
        do { try sink.finish() } catch { throw LayerError(foreign: error, "write the layer") }
    }
}

extension LayerError {
    /// What a caller's own code threw.
    init(foreign error: any Error, _ operation: String) {
        self = error as? LayerError ?? LayerError(.callback, operation, cause: .reason("\(error)"))
    }
}
