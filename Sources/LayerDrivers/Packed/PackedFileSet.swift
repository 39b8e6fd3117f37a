import LayerCompression
import LayerEngine
import LayerModel
import LayerPacking
import LinuxIO

/// The files of a packed layer in the making.
struct PackedFileSet: ~Copyable {
    private let directory: PathBytes
    private var tar: DigestSink<FileSink>
    private var extra: OpenFile?
    private var others: [OpenFile] = []
    private(set) var report = ApplyReport()
    /// What the record says of the tar.
    var isMadeHere = false
    var source: PackOrigin?

    init(_ directory: PathBytes) throws(LayerError) {
        self.directory = directory
        tar = DigestSink(FileSink(try OpenFile(directory.appending(PackedNames.tar))))
    }

    var tarBytes: UInt64 { tar.byteCount }

    mutating func take(_ bytes: RawSpan) throws(LayerError) { try tar.write(bytes) }

    /// Looks through a piece of the stream; returns why it cannot be packed. `hasParent`: what is wrong with an entry may be all
    /// right where names lead through links of the layers below, so that unpacking has to judge.
    mutating func step(_ piece: RawSpan, _ packer: inout LayerPacker, hasParent: Bool) throws(LayerError) -> String? {
        var position = 0
        while position < piece.byteCount {
            let consumed: Int
            let step: LayerPacker.Step
            do throws(LayerError) {
                (consumed, step) = try packer.step(piece.extracting(position..<piece.byteCount))
            } catch {
                guard error.code == .unsupported || hasParent && error.code != .limitExceeded else { throw error }
                return error.description
            }
            if case .extra(let range, let offset) = step {
                let bytes = piece.extracting(position + range.lowerBound..<position + range.upperBound)
                try extraFile().write(bytes, at: offset)
            }
            position += consumed
        }
        return nil
    }

    private mutating func extraFile() throws(LayerError) -> OpenFile {
        if let extra { return extra }
        let made = try OpenFile(directory.appending(PackedNames.extra))
        extra = made
        return made
    }

    mutating func endTar() throws(LayerError) -> Digest {
        try tar.finish()
        guard let digest = tar.digest else { preconditionFailure("the tar was hashed") }
        return digest
    }

    /// The whole tar, to be read.
    func openTar() throws(LayerError) -> OwnedDescriptor {
        let path = directory.appending(PackedNames.tar)
        return try attempt("read", path) { () throws(SystemCallError) in try path.open([.readOnly, .noFollow]) }
    }

    /// Writes the index and the record; returns why that is not done.
    mutating func finish(
        _ packer: consuming LayerPacker, _ options: PackOptions, _ diffID: Digest,
        _ judge: (PackReport, UInt64) -> String?
    ) throws(LayerError) -> String? {
        let packed: PackedLayer
        do throws(LayerError) { packed = try packer.finish() } catch {
            // A link may lead into the layers below; whatever else is wrong, unpacking says the same.
            return error.description
        }
        if let reason = judge(packed.report, tarBytes) { return reason }
        take(packed.report)
        if let extra { try extra.end(at: packed.report.extraBytes) }
        let index = try OpenFile(directory.appending(PackedNames.index))
        var record = try PackedIndex.write(
            packed, of: diffID, tarBytes: tarBytes, options, into: FileSink(index))
        record.isMadeHere = isMadeHere
        record.source = source
        let text = try OpenFile(directory.appending(PackedNames.record))
        try text.write(record.text.rawBytes, at: 0)
        others = [index, text]
        return nil
    }

    private mutating func take(_ packed: PackReport) {
        report.entries = packed.entries
        report.chosenEntries = packed.entries
        report.size = packed.headerSum
        report.uniqueFileBytes = packed.uniqueFileBytes
        report.presentEntries = packed.presentEntries
        report.streamBytes = packed.streamBytes
        report.warnings = packed.warnings
        report.warningCount = packed.warningCount
    }

    /// Puts all of it on disk, names included.
    func sync(_ writer: StoreWriter) throws(LayerError) {
        try tar.base.file.sync()
        try extra?.sync()
        for file in others { try file.sync() }
        try writer.sync(directory)
    }
}

/// A new file that is written.
final class OpenFile: Sendable {
    private let descriptor: OwnedDescriptor
    private let path: PathBytes

    init(_ path: PathBytes) throws(LayerError) {
        self.path = path
        descriptor = try attempt("create", path) { () throws(SystemCallError) in
            try path.withName { (name) throws(SystemCallError) in
                try OwnedDescriptor.open(name, [.writeOnly, .create, .exclusive, .noFollow], mode: 0o600)
            }
        }
    }

    func write(_ bytes: RawSpan) throws(LayerError) {
        do throws(SystemCallError) { try descriptor.writeAll(bytes) } catch { throw failure(error) }
    }

    func write(_ bytes: RawSpan, at offset: Int64) throws(LayerError) {
        do throws(SystemCallError) { try descriptor.writeAll(bytes, at: offset) } catch { throw failure(error) }
    }

    func end(at byteCount: Int64) throws(LayerError) {
        do throws(SystemCallError) { try descriptor.truncate(to: byteCount) } catch { throw failure(error) }
    }

    func sync() throws(LayerError) {
        do throws(SystemCallError) { try descriptor.sync() } catch { throw failure(error) }
    }

    private func failure(_ error: SystemCallError) -> LayerError { LayerError(error, "write", path: path) }
}

/// Writes into a file as it comes.
struct FileSink: ByteSink, ~Copyable {
    let file: OpenFile

    init(_ file: OpenFile) { self.file = file }

    mutating func write(_ bytes: RawSpan) throws(LayerError) { try file.write(bytes) }
    mutating func finish() throws(LayerError) {}
}
