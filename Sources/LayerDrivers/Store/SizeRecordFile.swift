import LayerModel
import LinuxIO

/// The file beside a layer's contents that keeps its size, and tells whether it is still right.
///
/// Docker ignores the file and removes it with the layer. It is believed only while three directories look as they did
/// when it was written: the layer's own (mounting makes and removes `merged` in it, a child's creation makes
/// `committed`), the top of its contents, and the overlay's work directory (each writable mount renews `work/work`).
/// So whoever changes the layer through a driver, ldiff's or Docker's, makes the record void. Someone who edits files
/// deep inside `diff` by hand is not noticed; `check` is.
struct SizeRecordFile: Sendable {
    static let fileName = "ldiff-size"
    private static let heading = "ldiff-size 1"

    /// The layer's directory, which holds the record.
    let layer: PathBytes
    let contents: PathBytes
    /// The overlay's work directory, which a base layer does not have.
    let work: PathBytes

    private var path: PathBytes { layer.appending(Self.fileName) }

    /// The recorded size, if it is still right.
    func load() -> RecordedSize? {
        guard let bytes = try? StoreFiles.read(path), let now = try? stamp() else { return nil }
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
        // A heading, the stamp, the two numbers, and an end that a cut file lacks.
        guard lines.count == 5, lines[0] == Self.heading, lines[1] == now, lines[4].isEmpty,
            let byteCount = Self.number(lines[2], "bytes"), let entryCount = Self.number(lines[3], "entries")
        else { return nil }
        return RecordedSize(byteCount: byteCount, entryCount: entryCount)
    }

    /// What the three directories look like now.
    private func stamp() throws(LayerError) -> String {
        var text = "stamp"
        for (index, path) in [layer, contents, work].enumerated() {
            guard let found = try StoreFiles.metadata(path) else {
                guard index == 2 else { throw LayerError(.notFound, "look at", path: path) }
                text += " -"
                continue
            }
            text += " \(found.device):\(found.inode):\(found.mtimeSeconds).\(found.mtimeNanoseconds)"
            text += ":\(found.ctimeSeconds).\(found.ctimeNanoseconds)"
        }
        return text
    }

    private static func number(_ line: Substring, _ name: String) -> UInt64? {
        guard line.hasPrefix(name + " ") else { return nil }
        return UInt64(line.dropFirst(name.count + 1))
    }
}

/// Only for who may change the store.
extension SizeRecordFile {
    /// Writes the record. In place: a new name would change the directory whose times it holds.
    func store(_ size: RecordedSize, _ writer: StoreWriter) throws(LayerError) {
        try writer.write(inPlace: path) { () throws(LayerError) in
            Array("\(Self.heading)\n\(try stamp())\nbytes \(size.byteCount)\nentries \(size.entryCount)\n".utf8)
        }
    }

    /// Voids the record, before the layer may change.
    func forget(_ writer: StoreWriter) throws(LayerError) { try writer.unlink(path) }

    /// Runs `body`, which changes the layer's directory but not its contents, and keeps a record that was right.
    func keepAcross(_ writer: StoreWriter, _ body: () throws(LayerError) -> Void) throws(LayerError) {
        let size = load()
        try body()
        if let size { try? store(size, writer) }
    }
}
