import Glibc
package import LayerModel
import LayerMounts
package import LayerPacking
import LinuxIO

/// Names of the files of a packed layer.
package enum PackedNames {
    package static let tar = "layer.tar"
    package static let index = "layer.erofs"
    package static let extra = "layer.extra"
    package static let record = "packed"
}

/// A packed layer in its directory.
package struct PackedLayerFiles: Sendable {
    package let directory: PathBytes
    package let record: PackRecord

    /// Opens the packed layer at `directory`: reads its record, and checks that the files are as long as that says.
    ///
    /// Throws `corruptLayer` for a record or files that are not whole, `notFound` where there is no packed layer.
    package init(_ directory: PathBytes) throws(LayerError) {
        try self.init(recordedIn: directory)
        try checkTar()
        try checkIndex()
    }

    /// Reads the record alone.
    init(recordedIn directory: PathBytes) throws(LayerError) {
        self.directory = directory
        let path = Self.path(PackedNames.record, in: directory)
        let text: [UInt8]
        do throws(SystemCallError) {
            text = try path.open([.readOnly]).contents(limit: Self.longestRecord)
        } catch {
            throw LayerError(
                error, "open the packed layer", path: directory,
                hint: error.errno == ENOENT ? "a packed layer has a file named packed: make one with ldiff pack" : nil)
        }
        record = try PackRecord(text: text, path: path)
    }

    /// Throws unless the files with the contents are as long as the record says.
    func checkTar() throws(LayerError) {
        try check(PackedNames.tar, record.tar)
        if let extra = record.extra { try check(PackedNames.extra, extra) }
    }

    /// The longest record that is read: one of a layer that has a million directories of which it says nothing.
    private static let longestRecord = 64 << 20

    private static func path(_ name: String, in directory: PathBytes) -> PathBytes {
        PathBytes(directory.bytes + [UInt8(ascii: "/")] + Array(name.utf8))
    }

    /// The path of one of the layer's files.
    package func path(_ name: String) -> PathBytes { Self.path(name, in: directory) }

    /// A file of another length mounts all the same, and reading it fails or gives zeros.
    private func check(_ name: String, _ expected: PackedFile) throws(LayerError) {
        let path = path(name)
        let metadata: EntryMetadata
        do throws(SystemCallError) { metadata = try path.open([.pathOnly, .noFollow]).metadata() } catch {
            throw LayerError(error, "open the packed layer's", path: path)
        }
        guard metadata.kind == .regular, UInt64(max(metadata.size, 0)) == expected.byteCount else {
            throw LayerError(
                .corruptLayer, "open the packed layer's", path: path,
                cause: .reason("it has \(metadata.size) bytes, and the record says \(expected.byteCount)"),
                hint: "pack the layer again")
        }
    }

    /// The index must be this tar's: its device has the tar's digest for a name.
    func checkIndex() throws(LayerError) {
        try check(PackedNames.index, record.index)
        let path = path(PackedNames.index)
        let head = Slab(capacity: 4096)
        var count = 0
        do throws(SystemCallError) {
            let file = try path.open([.readOnly])
            count = try file.read(into: head, 0..<head.capacity)
        } catch {
            throw LayerError(error, "open the packed layer's", path: path)
        }
        let devices: [PackDevice]
        do throws(ErofsProblem) { devices = try ErofsReader.devices(inHead: head.span(0..<count)) } catch {
            throw LayerError(error, index: path)
        }
        let isOurs = devices.first?.tag == Digest(bytes: record.tar.digest).map { Array($0.hexadecimal.utf8) }
        guard isOurs, devices.count == (record.extra == nil ? 1 : 2) else {
            throw LayerError(
                .corruptLayer, "open the packed layer's", path: path,
                cause: .reason("it is the index of another tar"), hint: "pack the layer again")
        }
    }

    /// Mounts the layer for reading at `target`. `way` nil: by file, or by loop devices where that does not work.
    @discardableResult
    package func mount(at target: PathBytes, byLoop: Bool? = nil, directIO: Bool = false) throws(LayerError) -> Bool {
        let way = try ErofsMount.mount(
            index: path(PackedNames.index), devices: devices, at: target,
            way: byLoop.map { $0 ? .loop : .file }, directIO: directIO)
        return way == .loop
    }

    private var devices: [PathBytes] {
        var devices = [path(PackedNames.tar)]
        if record.extra != nil { devices.append(path(PackedNames.extra)) }
        return devices
    }

    /// Mounts the layer for reading at no path.
    func detached(_ way: ErofsMount.Way?) throws(LayerError) -> (mount: DetachedMount, way: ErofsMount.Way) {
        try ErofsMount.detached(index: path(PackedNames.index), devices: devices, way: way)
    }

    /// Bytes of all files of the layer.
    var byteCount: UInt64 { record.tar.byteCount + record.index.byteCount + (record.extra?.byteCount ?? 0) }
    /// How many these are, the record and the directory included.
    var fileCount: UInt64 { record.extra == nil ? 4 : 5 }
}
