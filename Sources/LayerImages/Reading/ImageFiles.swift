import Glibc
package import LayerCompression
package import LayerModel
import LinuxIO
import Synchronization

/// A part of a file that is part of an image: read in place, by anybody at any time.
package struct ImageBlob: Sendable {
    let file: SharedDescriptor
    /// Where it lies in the file.
    package let range: Range<UInt64>
    /// Raised by what is read of it as a layer.
    package var progress: ByteCounter?

    package var byteCount: UInt64 { UInt64(range.count) }

    /// All of it, if it has at most so many bytes.
    func bytes(limit: Int64, _ what: String) throws(LayerError) -> [UInt8] {
        guard Int64(range.count) <= limit else {
            throw LayerError(
                .limitExceeded, "read the \(what)", cause: .reason("it has \(range.count) bytes, \(limit) are allowed"))
        }
        let slab = Slab(capacity: range.count)
        do throws(SystemCallError) {
            while slab.end < slab.capacity {
                let count = try file.descriptor.read(
                    into: slab, slab.end..<slab.capacity, at: Int64(range.lowerBound) + Int64(slab.end))
                guard count > 0 else { break }
                slab.end += count
            }
        } catch {
            throw LayerError(error, "read the \(what)", path: nil)
        }
        guard slab.count == range.count else {
            throw LayerError(.corruptLayer, "read the \(what)", cause: .reason("it is cut short"))
        }
        return slab.bytes.copied()
    }

    /// A reader of it, as a layer.
    package func reader(
        format: LayerFormat? = nil, _ options: LayerReaderOptions = LayerReaderOptions()
    ) throws(LayerError) -> LayerReader {
        var options = options
        options.progress = options.progress ?? progress
        return try LayerReader(BlobInput(self), format: format, options: options)
    }

    /// What it is compressed with, from its first bytes.
    func sniff() throws(LayerError) -> LayerFormat {
        let count = min(LayerFormat.detectionLength, range.count)
        let start = ImageBlob(file: file, range: range.lowerBound..<range.lowerBound + UInt64(count))
        let bytes = try start.bytes(limit: 64, "layer")
        return LayerFormat.detect(bytes.rawBytes)
    }
}

/// Hands out a blob's bytes, wherever they lie.
private final class BlobInput: ForeignInput {
    private let blob: ImageBlob
    private let position: Mutex<UInt64>

    init(_ blob: ImageBlob) {
        self.blob = blob
        position = Mutex(blob.range.lowerBound)
    }

    func read(into buffer: inout OutputRawSpan) throws(LayerError) {
        let start = position.withLock { $0 }
        let left = Int(blob.range.upperBound - start)
        guard left > 0 else { return }
        do throws(SystemCallError) {
            let count = try blob.file.descriptor.read(into: &buffer, at: Int64(start), limit: left)
            position.withLock { $0 += UInt64(count) }
        } catch {
            throw LayerError(error, "read the layer", path: nil)
        }
    }
}

/// The files that an image lies in: a directory, or an archive that is read where it is.
final class ImageFiles: Sendable {
    private enum Place: Sendable {
        case directory(SharedDescriptor)
        case archive(SharedDescriptor, ArchiveListing)
    }

    private let place: Place
    /// What errors call it.
    let path: PathBytes

    /// Opens a directory, an archive, or a compressed archive, which is unpacked into a file without a name first.
    convenience init(_ path: PathBytes, spool: PathBytes, cancel: CancelFlag?) throws(LayerError) {
        let opened = try attempt("open", path) { () throws(SystemCallError) in try path.open(.readOnly) }
        try self.init(opened, path, spool, cancel)
    }

    init(
        _ opened: consuming OwnedDescriptor, _ path: PathBytes, _ spool: PathBytes, _ cancel: CancelFlag?
    ) throws(LayerError) {
        self.path = path
        let file = SharedDescriptor(opened)
        let metadata = try attempt("look at", path) { () throws(SystemCallError) in try file.descriptor.metadata() }
        if metadata.kind == .directory {
            place = .directory(file)
            return
        }
        var archive = file
        let isFile = metadata.kind == .regular
        var needsSpool = !isFile
        if isFile { needsSpool = try Self.isCompressed(file, UInt64(max(metadata.size, 0))) }
        if needsSpool {
            archive = SharedDescriptor(try Self.spooled(file.descriptor, path, spool, cancel))
        }
        let size = try attempt("look at", path) { () throws(SystemCallError) in try archive.descriptor.metadata().size }
        do throws(LayerError) {
            place = .archive(archive, try ArchiveListing(archive.descriptor, size: UInt64(max(size, 0))))
        } catch {
            var named = error
            if named.path == nil { named.path = path }
            throw named
        }
    }

    private static func isCompressed(_ file: SharedDescriptor, _ size: UInt64) throws(LayerError) -> Bool {
        try ImageBlob(file: file, range: 0..<size).sniff() != .none
    }

    /// The whole archive in a file without a name.
    private static func spooled(
        _ file: borrowing OwnedDescriptor, _ path: PathBytes, _ directory: PathBytes, _ cancel: CancelFlag?
    ) throws(LayerError) -> OwnedDescriptor {
        let target = try attempt("create a scratch file in", directory, as: .cannotCreate) {
            () throws(SystemCallError) in
            try directory.withName { (name) throws(SystemCallError) in
                try OwnedDescriptor.open(name, [.unnamed, .readWrite], mode: 0o600)
            }
        }
        var options = LayerReaderOptions()
        options.cancel = cancel
        options.maxRatio = 1000
        var reader = try LayerReader(descriptor: file.number, options: options)
        while let slab = try reader.next() {
            try attempt("write a scratch file in", directory) { () throws(SystemCallError) in
                try target.writeAll(slab.bytes)
            }
            reader.recycle(slab)
        }
        return target
    }

    /// The file of that name; nil where there is none. Where an archive has several, the last.
    func blob(_ name: String) throws(LayerError) -> ImageBlob? { try blobs(name).last }

    /// The contents of a small file; nil where there is none. Throws `corruptLayer` where an archive has two that differ.
    func document(_ name: String, limit: Int64 = ImageDocuments.longest) throws(LayerError) -> [UInt8]? {
        var found: [UInt8]?
        for blob in try blobs(name) {
            let bytes = try blob.bytes(limit: limit, name)
            if let found, found != bytes {
                throw LayerError(
                    .corruptLayer, "read the archive", path: PathBytes(name),
                    cause: .reason("it is there twice, and differs"))
            }
            found = bytes
        }
        return found
    }

    private func blobs(_ name: String) throws(LayerError) -> [ImageBlob] {
        switch place {
        case .archive(let file, let listing):
            return try listing.files(Array(name.utf8)).map { ImageBlob(file: file, range: $0) }
        case .directory(let directory):
            guard let opened = try Self.open(name, in: directory.descriptor, path) else { return [] }
            let file = SharedDescriptor(opened)
            let metadata = try attempt("look at", path.appending(name)) { () throws(SystemCallError) in
                try file.descriptor.metadata()
            }
            guard metadata.kind == .regular else { return [] }
            return [ImageBlob(file: file, range: 0..<UInt64(max(metadata.size, 0)))]
        }
    }

    private static func open(
        _ name: String, in directory: borrowing OwnedDescriptor, _ path: PathBytes
    ) throws(LayerError) -> OwnedDescriptor? {
        do throws(SystemCallError) {
            return try PathBytes(name).withName { (name) throws(SystemCallError) in
                // A FIFO is not waited for: what is no file is looked at afterwards.
                try directory.open(name, [.readOnly, .nonBlocking], resolve: [.beneath, .noMagicLinks])
            }
        } catch {
            // What leads in a circle or out is refused.
            if [ENOENT, ENOTDIR].contains(error.errno) { return nil }
            if [ELOOP, EXDEV].contains(error.errno) {
                throw LayerError(
                    .corruptLayer, "open", path: path.appending(name), cause: .reason("it leads out of the image"))
            }
            throw LayerError(error, "open", path: path.appending(name))
        }
    }
}
