import Glibc
import LayerCompression
public import LayerModel
public import LinuxIO
import Synchronization

/// How `TarSplitAssembler` reads.
public struct TarSplitAssemblerOptions: Sendable {
    /// Refuse metadata in which two file objects share a cleaned name, as Docker does (T8).
    public var refusesDuplicates = false
    /// Stops the work.
    public var cancel: CancelFlag?
    /// Counts files and their bytes.
    public var progress: Progress?

    public init() {}
}

/// What an assembler wrote.
public struct TarSplitAssembly: Sendable {
    /// File objects.
    public var entries = 0
    /// Bytes of the archive.
    public var bytes: UInt64 = 0
}

/// Rebuilds a tar stream from its tar-split metadata and the tree it was unpacked to (T6, T7).
public enum TarSplitAssembler {
    /// Writes the archive to `sink` and finishes it.
    ///
    /// `metadata` is the JSON, decompressed. Contents come from regular files beneath `root`: a name is resolved as if
    /// that were the root directory, and may not end in a symbolic link. Throws `corruptLayer` for metadata that is none,
    /// and `digestMismatch` for a file that is not what it was, with bytes of it in the sink by then.
    public static func assemble<Source: SlabSource & ~Copyable, Sink: ByteSink & ~Copyable>(
        _ metadata: inout Source, root: borrowing OwnedDescriptor, into sink: inout Sink,
        options: TarSplitAssemblerOptions = TarSplitAssemblerOptions()
    ) throws(LayerError) -> TarSplitAssembly {
        let report = try assemble(&metadata, into: &sink, options: options) { (name) throws(LayerError) in
            try open(name, beneath: root)
        }
        try sink.finish()
        return report
    }

    /// The same with files that `open` finds, and a sink that is not finished.
    ///
    /// With `differs`, a file that is not what it was ends nothing: it is named there, and the stream lacks bytes of it.
    public static func assemble<Source: SlabSource & ~Copyable, Sink: ByteSink & ~Copyable>(
        _ metadata: inout Source, into sink: inout Sink,
        options: TarSplitAssemblerOptions = TarSplitAssemblerOptions(),
        differs: ((LayerError) -> Void)? = nil,
        open: ([UInt8]) throws(LayerError) -> OwnedDescriptor
    ) throws(LayerError) -> TarSplitAssembly {
        var lines = LineFeed()
        var object = TarSplitObject()
        var seen = NameTable()
        var name = CleanName()
        var result = TarSplitAssembly()
        let buffer = Slab(capacity: 1 << 20)
        while try lines.next(&metadata) {
            try options.cancel?.check("assemble")
            guard object.read(lines.line.rawBytes) else {
                throw damaged("line \(lines.number) is no object of tar-split")
            }
            if object.kind == .segment {
                try sink.write(object.payload.rawBytes)
                result.bytes += UInt64(object.payload.count)
                continue
            }
            result.entries += 1
            if options.refusesDuplicates {
                name.set(object.name.rawBytes)
                if seen.insert(name.hash, bit: false) != nil {
                    throw LayerError(
                        .corruptLayer, "assemble", path: PathBytes(object.name),
                        cause: .reason("duplicates of file paths not supported"))
                }
            }
            guard object.size > 0 else { continue }
            do throws(LayerError) {
                try copy(object, buffer, into: &sink, options.cancel, open)
            } catch {
                guard let differs, error.code == .digestMismatch || error.code == .notFound || error.code == .io else {
                    throw error
                }
                differs(error)
            }
            result.bytes += UInt64(object.size)
            options.progress?.entries.add(1, ordering: .relaxed)
            options.progress?.bytes.add(UInt64(object.size), ordering: .relaxed)
        }
        return result
    }

    private static func copy<Sink: ByteSink & ~Copyable>(
        _ object: borrowing TarSplitObject, _ buffer: Slab, into sink: inout Sink, _ cancel: CancelFlag?,
        _ open: ([UInt8]) throws(LayerError) -> OwnedDescriptor
    ) throws(LayerError) {
        let path = PathBytes(object.name)
        guard !object.name.contains(0) else { throw damaged("a name has a NUL in it") }
        let file = try open(object.name)
        let metadata: EntryMetadata
        do throws(SystemCallError) {
            metadata = try file.metadata()
        } catch {
            throw LayerError(error, "open", path: path)
        }
        guard metadata.kind == .regular, metadata.size == object.size else { throw mismatch(path) }
        var checksum = PayloadChecksum()
        var left = object.size
        while left > 0 {
            try cancel?.check("assemble")
            let count: Int
            do throws(SystemCallError) {
                count = try file.read(into: buffer, 0..<Int(min(left, Int64(buffer.capacity))))
            } catch {
                throw LayerError(error, "read", path: path)
            }
            guard count > 0 else { throw mismatch(path) }
            let piece = buffer.span(0..<count)
            checksum.update(piece)
            try sink.write(piece)
            left -= Int64(count)
        }
        var expected: UInt64 = 0
        for byte in object.payload { expected = expected << 8 | UInt64(byte) }
        guard object.payload.count == 8, checksum.value == expected else { throw mismatch(path) }
    }

    /// Opens what may be a regular file, see V31.
    private static func open(
        _ name: [UInt8], beneath root: borrowing OwnedDescriptor
    ) throws(LayerError) -> OwnedDescriptor {
        let terminated = name + [0]
        do throws(SystemCallError) {
            return try root.open(
                NamePointer(terminated: terminated.rawBytes), OpenFlags.contents,
                resolve: [.inRoot, .noMagicLinks])
        } catch {
            // ELOOP: the last component is a symbolic link now.
            if error.errno != ELOOP { throw LayerError(error, "open", path: PathBytes(name)) }
        }
        throw mismatch(PathBytes(name))
    }

    private static func mismatch(_ path: PathBytes) -> LayerError {
        LayerError(
            .digestMismatch, "assemble", path: path,
            cause: .reason("file integrity checksum failed for \"\(path)\""),
            hint: "the file is not what it was when the layer was unpacked")
    }

    private static func damaged(_ reason: String) -> LayerError {
        LayerError(.corruptLayer, "read the tar-split metadata", cause: .reason(reason))
    }
}

/// A stream as lines.
private struct LineFeed: ~Copyable {
    /// The current line, without its end.
    private(set) var line: [UInt8] = []
    /// Its number, from 1.
    private(set) var number = 0
    private var slab: Slab?
    private var position = 0

    /// Old writers put the whole end of an archive into one segment; beyond this it is an attack.
    private static let longest = 256 << 20

    /// Moves on to the next line that is not empty; false at the end.
    mutating func next<Source: SlabSource & ~Copyable>(_ source: inout Source) throws(LayerError) -> Bool {
        line.removeAll(keepingCapacity: true)
        while true {
            guard let slab else {
                guard let next = try source.next() else {
                    number += 1
                    return !line.isEmpty
                }
                slab = next
                position = next.start
                continue
            }
            let isComplete = takeLine(slab)
            if position == slab.end, let used = self.slab.take() { source.recycle(used) }
            if line.count > Self.longest {
                throw LayerError(
                    .limitExceeded, "read the tar-split metadata", cause: .reason("line \(number + 1) is too long"))
            }
            guard isComplete else { continue }
            number += 1
            if !line.isEmpty { return true }
        }
    }

    /// Takes bytes up to the end of the line, or of the slab; true if it was the line's.
    private mutating func takeLine(_ slab: Slab) -> Bool {
        let bytes = slab.span(position..<slab.end)
        var count = 0
        while count < bytes.byteCount, bytes[count] != UInt8(ascii: "\n") { count += 1 }
        line.reserveCapacity(line.count + count)
        for index in 0..<count { line.append(bytes[index]) }
        let isComplete = count < bytes.byteCount
        position += count + (isComplete ? 1 : 0)
        return isComplete
    }
}
