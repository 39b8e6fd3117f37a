import LayerModel
import LinuxIO

/// Something that the lower directories show under a name.
struct LowerEntry {
    var metadata: EntryMetadata
    /// The directory it lies in.
    var directory: SharedDescriptor
    var name: NameRef
    /// The directories that were looked into, and the place of `directory` among them.
    var stack: [LowerPlace]
    var position: Int
}

/// The lower directories of an upper one, as an overlay shows them: looked up, never changed.
///
/// For each directory of the upper the real lower directories that merge beneath it are found from its parent's:
/// the nearest first, ended by a whiteout, by anything that is no directory, and behind an opaque one; redirects are
/// followed (`LowerSearch`).
final class LowerView {
    let roots: [LowerPlace]
    let dialect: WhiteoutDialect
    private var cached: [UInt32: [LowerPlace]] = [:]
    /// What the upper directory hides of them; nil where it hides nothing.
    private let marks: UpperMarks?
    var reader = AttributeReader()
    /// The layer hides all that the lower roots have.
    var isRootHidden = false

    /// Directories whose lower ones stay open; the ones above are found anew when needed.
    private static let cacheSize = 64
    /// Lower directories that may stay open in all: of a long stack each directory has many.
    private let mostOpen: Int
    private var openCount = 0

    /// The view of the directories at `paths`, nearest first, which keeps at most `mostOpen` directories open besides them.
    init(
        _ paths: [PathBytes], dialect: WhiteoutDialect, _ marks: UpperMarks?, mostOpen: Int
    ) throws(LayerError) {
        self.mostOpen = mostOpen
        self.dialect = dialect
        self.marks = marks
        var roots: [LowerPlace] = []
        for path in paths {
            guard !path.bytes.isEmpty, !path.bytes.contains(0) else {
                throw LayerError(.notFound, "open the lower directory", path: path, cause: .reason("not a path"))
            }
            let terminated = path.bytes + [0]
            do throws(SystemCallError) {
                let opened = try OwnedDescriptor.open(
                    NamePointer(terminated: terminated.rawBytes), [.pathOnly, .directory])
                roots.append(LowerPlace(handle: SharedDescriptor(opened), layer: roots.count))
            } catch {
                throw LayerError(error, "open the lower directory", path: path)
            }
        }
        self.roots = roots
    }

    var isEmpty: Bool { roots.isEmpty }

    /// Forgets what was found; for when an upper directory becomes opaque or goes.
    func forget() {
        cached.removeAll(keepingCapacity: true)
        openCount = 0
    }

    private func keep(_ places: [LowerPlace], of node: UInt32) {
        if cached.count >= Self.cacheSize || openCount + places.count > mostOpen { forget() }
        cached[node] = places
        openCount += places.count
    }

    /// The lower directories beneath a directory of the upper, nearest first. Where the process has no descriptor left, those
    /// kept open are given up, and those of others are waited for.
    func directories(of node: UInt32, _ tree: ApplyTree) throws(SystemCallError) -> [LowerPlace] {
        var patience = DescriptorPatience()
        while true {
            do throws(SystemCallError) { return try find(node, tree) } catch {
                guard error.isOutOfDescriptors else { throw error }
                forget()
                guard patience.wait() else { throw error }
            }
        }
    }

    private func find(_ node: UInt32, _ tree: ApplyTree) throws(SystemCallError) -> [LowerPlace] {
        var chain: [UInt32] = []
        var current = node
        var found: [LowerPlace]?
        while found == nil {
            if try marks?.isOpaque(current) == true {
                found = []
            } else if current == ApplyTree.rootNode {
                found = isRootHidden ? [] : roots
            } else if let known = cached[current] {
                found = known
            } else {
                chain.append(current)
                current = tree.nodes[Int(current)].parent
            }
        }
        let arena = tree.arena
        var places = found ?? []
        for next in chain.reversed() {
            let name = tree.records[Int(tree.nodes[Int(next)].entry)].name
            let redirect = try marks?.redirect(of: next, isOverNothing: places.isEmpty)
            places = try merged(arena[name].copied() + [0], in: places, redirect)
            keep(places, of: next)
        }
        return places
    }

    /// What the lower directories show under a name, or nil for nothing.
    func entry(_ name: NameRef, in node: UInt32, _ tree: ApplyTree) throws(SystemCallError) -> LowerEntry? {
        let arena = tree.arena
        let places = try directories(of: node, tree)
        for position in places.indices {
            let directory = places[position].handle
            if try hasPrefixedWhiteout(arena[name], in: directory) { return nil }
            guard let metadata = try directory.descriptor.metadataIfPresent(arena.pointer(name)) else { continue }
            if metadata.isWhiteoutDevice, dialect.recognises.contains(.device) { return nil }
            if dialect.recognises.contains(.attributeFile), metadata.kind == .regular, metadata.size == 0,
                try reader.marks(of: arena.pointer(name), in: directory.descriptor, dialect: dialect).whiteout
            {
                return nil
            }
            return LowerEntry(
                metadata: metadata, directory: directory, name: name, stack: places, position: position)
        }
        return nil
    }

    /// The names that the lower directories show in a directory, NUL-terminated.
    func names(in node: UInt32, _ tree: ApplyTree) throws(SystemCallError) -> [UInt8] {
        var names: [UInt8] = []
        var seen = Set<[UInt8]>()
        var listing = DirectoryReader()
        for place in try directories(of: node, tree) {
            let directory = try place.handle.descriptor.open(NamePointer("."), [.readOnly, .directory])
            listing.restart()
            while let entry = try listing.next(of: directory) {
                let name = listing.name(of: entry)
                if dialect.recognises.contains(.prefixedFile), bytes(name, startWith: WhiteoutName.prefix) { continue }
                let copy = name.copied()
                if seen.insert(copy).inserted { names += copy + [0] }
            }
        }
        return names
    }

    func hasPrefixedWhiteout(_ name: RawSpan, in directory: SharedDescriptor) throws(SystemCallError) -> Bool {
        guard dialect.recognises.contains(.prefixedFile), name.byteCount <= 251 else { return false }
        let marker = WhiteoutName.prefix.description.utf8Bytes + name.copied() + [0]
        return try directory.descriptor.metadataIfPresent(NamePointer(terminated: marker.rawBytes)) != nil
    }

    func hasMarkerFile(_ directory: borrowing OwnedDescriptor) throws(SystemCallError) -> Bool {
        guard dialect.recognises.contains(.markerFile) else { return false }
        return try directory.metadataIfPresent(NamePointer(WhiteoutName.opaqueMarker)) != nil
    }
}
