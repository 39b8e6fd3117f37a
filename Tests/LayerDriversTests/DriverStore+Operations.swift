import Glibc
import LayerDrivers
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// The operations in the words of the tests: texts for ids, bytes for streams, lines for changes.
extension DriverStore {
    func id(_ text: String) throws -> LayerID { try LayerID(text) }

    func create(
        _ id: String, on parent: String? = nil, readWrite: Bool = true, storage: [StorageOption] = []
    ) throws {
        let options = CreateOptions(storage: storage)
        let parent = try parent.map { try LayerID($0) }
        if readWrite {
            try driver.createReadWrite(LayerID(id), parent: parent, options: options)
        } else {
            try driver.create(LayerID(id), parent: parent, options: options)
        }
    }

    func remove(_ id: String) throws { try driver.remove(LayerID(id)) }
    func exists(_ id: String) throws -> Bool { try driver.exists(LayerID(id)) }
    func get(_ id: String) throws -> String { try text(driver.get(LayerID(id), options: MountOptions())) }
    func put(_ id: String) throws { try driver.put(LayerID(id)) }

    /// Runs `body` with the path of the mounted layer.
    func inside(_ id: String, _ body: (String) throws -> Void) throws {
        let mounted = try driver.mount(LayerID(id))
        let result = Result { try body(text(mounted.path)) }
        try mounted.release()
        try result.get()
    }

    /// Changes the mounted layer.
    func build(_ id: String, _ body: (TreeBuilder) throws -> Void) throws {
        try inside(id) { try body(TreeBuilder($0)) }
    }

    /// Makes a layer and fills it.
    func layer(_ id: String, on parent: String? = nil, _ body: (TreeBuilder) throws -> Void = { _ in }) throws {
        try create(id, on: parent)
        try build(id, body)
    }

    /// The layer's tree without what overlayfs or the file system below writes itself.
    func snapshot(_ id: String, ignoring more: TreeSnapshot.Ignored = []) throws -> TreeSnapshot {
        var snapshot: TreeSnapshot?
        try inside(id) { snapshot = try TreeSnapshot($0, ignoring: more.union([.root, .overlayAttributes])) }
        guard let snapshot else { throw TestFailure("no snapshot of \(id)") }
        return snapshot
    }

    func diff(_ id: String, since parent: String?) throws -> [UInt8] {
        var sink = CollectingSink()
        _ = try driver.diff(LayerID(id), since: parent.map { try LayerID($0) }, into: &sink)
        try sink.finish()
        return sink.bytes
    }

    @discardableResult
    func apply(_ bytes: [UInt8], to id: String, onto parent: String?) throws -> AppliedLayer {
        var stream = MemorySource(bytes)
        return try driver.applyDiff(LayerID(id), onto: parent.map { try LayerID($0) }, from: &stream)
    }

    /// Lines as `A /path`.
    func changes(_ id: String, since parent: String?) throws -> [String] {
        var lines: [String] = []
        try driver.changes(LayerID(id), since: parent.map { try LayerID($0) }) { (kind, path) throws(LayerError) in
            lines.append("\(String(UnicodeScalar(kind.letter))) \(escapedText(path.copied()))")
        }
        return lines
    }

    /// The same by walking the two mounted trees, whatever the driver would do.
    func comparedChanges(_ id: String, since parent: String?) throws -> [String] {
        var lines: [String] = []
        let source = try driver.comparedTrees(LayerID(id), parent.map { try LayerID($0) })
        _ = try DiffEngine.changes(source.trees, contentCheck: true) { (kind, path) throws(LayerError) in
            lines.append("\(String(UnicodeScalar(kind.letter))) \(escapedText(path.copied()))")
        }
        _ = consume source
        return lines
    }

    func size(_ id: String, since parent: String?) throws -> UInt64 {
        try driver.diffSize(LayerID(id), since: parent.map { try LayerID($0) })
    }

    func text(_ path: PathBytes) -> String { String(decoding: path.bytes, as: UTF8.self) }
}

/// The entries of an archive as GNU tar lists them: mode, owner and name.
func tarListing(_ bytes: [UInt8]) throws -> [String] {
    let result = try runProgram(["tar", "--list", "--verbose", "--numeric-owner", "--file=-"], input: bytes)
    guard result.status == 0 else { throw TestFailure("tar: \(result.errors)") }
    return result.lines.map { line in
        let fields = line.split(separator: " ", omittingEmptySubsequences: true)
        return ([fields[0], fields[1]] + fields[5...]).joined(separator: " ")
    }
}

/// A layer in which the marks of opaque directories have no time: a union makes its marks when it likes, so that two layers
/// made one after the other may have them in different seconds.
func withoutTimesOfMarks(_ layer: [UInt8]) -> [UInt8] {
    var layer = layer
    var at = 0
    while at + 512 <= layer.count {
        let name = layer[at..<at + 100].prefix { $0 != 0 }
        if name.suffix(12).elementsEqual(".wh..wh..opq".utf8) {
            // The time, and the checksum over it.
            layer.replaceSubrange(at + 136..<at + 156, with: [UInt8](repeating: 0, count: 20))
        }
        let size = Int(String(decoding: layer[at + 124..<at + 135], as: UTF8.self), radix: 8) ?? 0
        at += 512 + (size + 511) / 512 * 512
    }
    return layer
}

/// Expects a failure of this kind whose text holds `words`.
func expectFailure<Result>(
    _ code: LayerError.Code, _ words: String = "", sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () throws -> Result
) {
    do {
        _ = try body()
        Issue.record("no error where \(code) was expected", sourceLocation: sourceLocation)
    } catch let error as LayerError {
        #expect(error.code == code, "\(error)", sourceLocation: sourceLocation)
        if !words.isEmpty {
            #expect(error.description.contains(words), "\(error)", sourceLocation: sourceLocation)
        }
    } catch {
        Issue.record(error, sourceLocation: sourceLocation)
    }
}

/// The mode with its type, owner and group of a path, links not followed; zeros where nothing is.
func status(_ path: String) -> (mode: mode_t, uid: uid_t, gid: gid_t) {
    var status = stat()
    guard lstat(path, &status) == 0 else { return (0, 0, 0) }
    return (status.st_mode, status.st_uid, status.st_gid)
}

/// The names in a directory, without what mkfs leaves.
func names(in path: String) throws -> [String] {
    let result = try runProgram(["ls", "-A", path])
    guard result.status == 0 else { throw TestFailure("ls \(path): \(result.errors)") }
    return result.lines.filter { $0 != "lost+found" }
}

extension DriverStore {
    /// Expects two layers to look alike, in all that an archive carries: seconds of times, attributes but `trusted.`.
    func expectSame(_ one: String, _ other: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
        let found = try portable(snapshot(one)).differences(from: portable(snapshot(other)))
        #expect(found.isEmpty, "\(one) (left), \(other) (right)", sourceLocation: sourceLocation)
    }

    private func portable(_ snapshot: TreeSnapshot) -> TreeSnapshot {
        var result = snapshot
        for (path, var entry) in snapshot.entries {
            entry.nanoseconds = 0
            entry.firstPath = ""
            // A directory of which nothing changed but its children is not part of a comparison of two trees.
            if entry.kind == .directory {
                entry.seconds = 0
                entry.attributes = [:]
            }
            entry.attributes = entry.attributes.filter { !$0.key.hasPrefix("trusted.") }
            result.entries[path] = entry
        }
        return result
    }
}
