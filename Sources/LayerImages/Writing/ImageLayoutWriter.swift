import Glibc
import LayerCompression
package import LayerModel
package import LinuxIO

extension PlannedImage {
    /// Writes the image into the OCI layout at `path`, which is made where there is none.
    ///
    /// Blobs that are there are left, once their digest is proven. The index is replaced at the end, under a lock; an entry
    /// of the same name loses it. Whoever stops before that finds the layout as it was, but for blobs that nothing names.
    package func writeLayout(to path: PathBytes, cancel: CancelFlag? = nil) throws(LayerError) {
        let directory = try LayoutDirectory(path)
        for layer in layers {
            try cancel?.check("write the image")
            if layer.blob != nil { try directory.add(layer) }
        }
        try directory.add(configuration)
        try directory.add(manifest)
        try directory.replaceIndex(with: index)
    }
}

/// A layout in a directory, open for writing.
final class LayoutDirectory {
    private let path: PathBytes
    private let root: OwnedDescriptor
    private let blobs: OwnedDescriptor

    init(_ path: PathBytes) throws(LayerError) {
        self.path = path
        root = try Self.makeDirectory(path)
        try Self.requireOwn(root, path)
        _ = try Self.makeDirectory(path.appending("blobs"))
        blobs = try Self.makeDirectory(path.appending("blobs/sha256"))
        guard try !Self.exists("oci-layout", in: root, path) else { return }
        try Self.write("oci-layout", PlannedImage.layout, in: root, path)
    }

    /// Refuses a directory in which others keep something under a layout's names, before anything is written into it.
    private static func requireOwn(_ root: borrowing OwnedDescriptor, _ path: PathBytes) throws(LayerError) {
        do throws(LayerError) {
            if try exists("oci-layout", in: root, path) {
                let files = try ImageFiles(path, spool: path, cancel: nil)
                let version = try ImageDocuments.layoutVersion(try files.document("oci-layout") ?? [])
                guard version.hasPrefix("1.") else {
                    throw LayerError(
                        .unsupported, "read the layout", path: path,
                        cause: .reason("it has the version \(escapedText(Array(version.utf8)))"))
                }
            }
            guard try exists("index.json", in: root, path) else { return }
            guard case .index = try index(in: path) else { throw ImageFault.malformed("index", "it is a manifest") }
        } catch {
            var error = error
            error.hint = "name a new directory, or a layout"
            throw error
        }
    }

    private static func makeDirectory(_ path: PathBytes) throws(LayerError) -> OwnedDescriptor {
        try attempt("make", path, as: .cannotCreate) { () throws(SystemCallError) in
            do throws(SystemCallError) {
                let current = try PathBytes(".").open([.readOnly, .directory])
                try path.withName { (name) throws(SystemCallError) in try current.makeDirectory(name, mode: 0o755) }
            } catch {
                guard error.errno == EEXIST else { throw error }
            }
            return try path.open([.readOnly, .directory])
        }
    }

    private static func exists(
        _ name: String, in directory: borrowing OwnedDescriptor, _ path: PathBytes
    ) throws(LayerError) -> Bool {
        do throws(SystemCallError) {
            _ = try PathBytes(name).withName { (name) throws(SystemCallError) in
                try directory.open(name, [.pathOnly, .noFollow])
            }
            return true
        } catch {
            guard error.errno != ENOENT else { return false }
            throw LayerError(error, "look at", path: path.appending(name))
        }
    }

    /// Writes a file beside its name, syncs it, and gives it the name.
    private static func write(
        _ name: String, _ bytes: [UInt8], in directory: borrowing OwnedDescriptor, _ path: PathBytes
    ) throws(LayerError) {
        try attempt("write", path.appending(name), as: nil) { () throws(SystemCallError) in
            let temporary = TemporaryName.next()
            try temporary.withName { (pending) throws(SystemCallError) in
                let file = try directory.open(pending, [.create, .exclusive, .writeOnly], mode: 0o644)
                do throws(SystemCallError) {
                    try file.writeAll(bytes.rawBytes)
                    try file.sync()
                    try PathBytes(name).withName { (name) throws(SystemCallError) in
                        try directory.rename(pending, to: name, in: directory)
                    }
                } catch {
                    try? directory.unlink(pending)
                    throw error
                }
            }
        }
    }

    func add(_ bytes: [UInt8]) throws(LayerError) {
        let digest = Digest.of(bytes.rawBytes)
        guard try !isThere(digest, Int64(bytes.count)) else { return }
        try Self.write(digest.hexadecimal, bytes, in: blobs, path.appending("blobs/sha256"))
    }

    /// Whether a blob is there and right; one that is not is written anew.
    private func isThere(_ digest: Digest, _ size: Int64) throws(LayerError) -> Bool {
        guard try Self.exists(digest.hexadecimal, in: blobs, path) else { return false }
        let opened = try attempt("open", path.appending(digest.hexadecimal)) { () throws(SystemCallError) in
            try PathBytes(digest.hexadecimal).withName { (name) throws(SystemCallError) in
                try blobs.open(name, [.readOnly, .noFollow, .nonBlocking])
            }
        }
        var options = LayerReaderOptions()
        options.hashCompressed = true
        var reader = try LayerReader(descriptor: opened.number, format: LayerFormat.none, options: options)
        try reader.drain()
        return try reader.finish().compressedDigest == digest
    }

    func add(_ layer: ImageLayerSource) throws(LayerError) {
        let digest = layer.descriptor.digest
        guard try !isThere(digest, layer.descriptor.size) else { return }
        let place = path.appending("blobs/sha256/" + digest.hexadecimal)
        let temporary = TemporaryName.next()
        let file = try attempt("create", place, as: .cannotCreate) { () throws(SystemCallError) in
            try temporary.withName { (name) throws(SystemCallError) in
                try blobs.open(name, [.create, .exclusive, .writeOnly], mode: 0o644)
            }
        }
        do throws(LayerError) {
            try copy(layer, to: file, place)
            try attempt("write", place) { () throws(SystemCallError) in
                try file.sync()
                try temporary.withName { (pending) throws(SystemCallError) in
                    try PathBytes(digest.hexadecimal).withName { (name) throws(SystemCallError) in
                        try blobs.rename(pending, to: name, in: blobs)
                    }
                }
            }
        } catch {
            try? temporary.withName { (name) throws(SystemCallError) in try blobs.unlink(name) }
            throw error
        }
    }

    private func copy(
        _ layer: ImageLayerSource, to file: borrowing OwnedDescriptor, _ place: PathBytes
    ) throws(LayerError) {
        var options = LayerReaderOptions()
        options.hashCompressed = true
        guard var reader = try layer.blob?.reader(format: LayerFormat.none, options) else { return }
        while let slab = try reader.next() {
            try attempt("write", place) { () throws(SystemCallError) in try file.writeAll(slab.bytes) }
            reader.recycle(slab)
        }
        let summary = try reader.finish()
        guard summary.compressedDigest == layer.descriptor.digest,
            summary.compressedBytes == UInt64(layer.descriptor.size)
        else {
            throw LayerError(
                .digestMismatch, "write the layer", path: place,
                cause: .reason("it has another digest than \(layer.descriptor.digest)"))
        }
    }

    /// A file that becomes a blob, once its digest is known; until then it has no name.
    func newBlob() throws(LayerError) -> SharedDescriptor {
        SharedDescriptor(
            try attempt("create a blob in", path, as: .cannotCreate) { () throws(SystemCallError) in
                try blobs.open(NamePointer("."), [.unnamed, .readWrite], mode: 0o644)
            })
    }

    /// Gives a new blob its name, unless it is there.
    func keep(_ file: SharedDescriptor, as descriptor: ImageDescriptor) throws(LayerError) {
        let name = descriptor.digest.hexadecimal
        if try isThere(descriptor.digest, descriptor.size) { return }
        let place = path.appending("blobs/sha256/" + name)
        try attempt("write", place) { () throws(SystemCallError) in
            try file.descriptor.sync()
            let temporary = TemporaryName.next()
            try temporary.withName { (pending) throws(SystemCallError) in
                try blobs.makeName(pending, for: file.descriptor)
                do throws(SystemCallError) {
                    try PathBytes(name).withName { (name) throws(SystemCallError) in
                        try blobs.rename(pending, to: name, in: blobs)
                    }
                } catch {
                    try? blobs.unlink(pending)
                    throw error
                }
            }
        }
    }

    /// Adds the entries of `bytes` to the layout's index. Entries that were there stay, but names are unique.
    func replaceIndex(with bytes: [UInt8]) throws(LayerError) {
        // The lock is the directory's: the index itself is replaced.
        try lock()
        guard case .index(var index) = try ImageDocuments.document(bytes, expected: nil) else { return }
        if try Self.exists("index.json", in: root, path), case .index(let old) = try Self.index(in: path) {
            let names = Set(index.manifests.compactMap { $0.annotation(ImageAnnotation.imageName) })
            let references = Set(index.manifests.compactMap { $0.annotation(ImageAnnotation.referenceName) })
            let digests = Set(index.manifests.map(\.digest))
            var kept: [ImageDescriptor] = []
            for var entry in old.manifests {
                let losesName = entry.annotation(ImageAnnotation.imageName).map(names.contains) ?? false
                let isSameReference =
                    entry.annotation(ImageAnnotation.imageName) == nil
                    && (entry.annotation(ImageAnnotation.referenceName).map(references.contains) ?? false)
                if losesName || isSameReference {
                    entry.annotations.removeAll {
                        [ImageAnnotation.imageName, ImageAnnotation.referenceName].contains($0.key)
                    }
                }
                if digests.contains(entry.digest), entry.annotations.isEmpty { continue }
                kept.append(entry)
            }
            index.manifests = kept + index.manifests
            index.annotations = old.annotations
        }
        try Self.write("index.json", ImageWriting.bytes(index), in: root, path)
    }

    /// Waits a while for whoever writes at the same time.
    private func lock() throws(LayerError) {
        for _ in 0..<600 {
            if try attempt("lock", path, { () throws(SystemCallError) in try root.tryLock(.exclusive) }) { return }
            usleep(50_000)
        }
        throw LayerError(.inUse, "lock", path: path, cause: .reason("another program is writing into it"))
    }

    private static func index(in path: PathBytes) throws(LayerError) -> ImageDocuments.Document {
        let files = try ImageFiles(path, spool: path, cancel: nil)
        return try ImageDocuments.document(try files.document("index.json") ?? [], expected: nil)
    }
}
