import LayerModel
import LinuxIO

/// Something that the lower directories show under a name.
struct LowerEntry {
    var metadata: EntryMetadata
    /// The directory it lies in.
    var directory: DirectoryHandle
    var name: NameRef
}

/// The lower directories of an upper one, as an overlay shows them: looked up, never changed.
///
/// For each directory of the upper the real lower directories that merge beneath it are found from its parent's:
/// the nearest first, ended by a whiteout, by anything that is no directory, and behind an opaque one.
final class LowerView {
    private let roots: [DirectoryHandle]
    private let dialect: WhiteoutDialect
    private var cached: [UInt32: [DirectoryHandle]] = [:]
    private var reader = AttributeReader()
    /// The layer hides all that the lower roots have (A32).
    var isRootHidden = false

    /// Directories whose lower ones stay open; the ones above are found anew when needed.
    private static let cacheSize = 64

    init(_ paths: [PathBytes], dialect: WhiteoutDialect) throws(LayerError) {
        self.dialect = dialect
        var roots: [DirectoryHandle] = []
        for path in paths {
            guard !path.bytes.isEmpty, !path.bytes.contains(0) else {
                throw LayerError(.notFound, "open the lower directory", path: path, cause: .reason("not a path"))
            }
            let terminated = path.bytes + [0]
            do throws(SystemCallError) {
                roots.append(
                    DirectoryHandle(
                        try OwnedDescriptor.open(
                            NamePointer(terminated: terminated.rawBytes), [.pathOnly, .directory])))
            } catch {
                throw LayerError(error, "open the lower directory", path: path)
            }
        }
        self.roots = roots
    }

    var isEmpty: Bool { roots.isEmpty }

    /// Forgets what was found; for when an upper directory becomes opaque or goes.
    func forget() { cached.removeAll(keepingCapacity: true) }

    /// The lower directories beneath a directory of the upper, nearest first.
    func directories(of node: UInt32, _ tree: ApplyTree) throws(SystemCallError) -> [DirectoryHandle] {
        var chain: [UInt32] = []
        var current = node
        var found: [DirectoryHandle]?
        while found == nil {
            if tree.nodes[Int(current)].flags.contains(.opaque) {
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
        var handles = found ?? []
        for next in chain.reversed() {
            let name = tree.records[Int(tree.nodes[Int(next)].entry)].name
            handles = try children(name, of: handles, tree.arena)
            if cached.count >= Self.cacheSize { cached.removeAll(keepingCapacity: true) }
            cached[next] = handles
        }
        return handles
    }

    /// The real directories called `name` in merged ones, that merge in turn.
    private func children(_ name: NameRef, of parents: [DirectoryHandle], _ arena: NameArena)
        throws(SystemCallError) -> [DirectoryHandle]
    {
        var result: [DirectoryHandle] = []
        for parent in parents {
            if try hasPrefixedWhiteout(name, in: parent, arena) { break }
            let opened: OwnedDescriptor
            switch parent.descriptor.tryOpen(arena.pointer(name), [.readOnly, .directory, .noFollow]) {
            case .success(let number): opened = OwnedDescriptor(adopting: number)
            case .failure(let error):
                if error.errno == 2 { continue }
                // ENOTDIR, ELOOP: something else hides what lies below.
                if error.errno == 20 || error.errno == 40 { return result }
                throw error
            }
            let marks = try reader.marks(of: opened, dialect: dialect)
            let hasMarker = try hasMarkerFile(opened)
            result.append(DirectoryHandle(opened))
            if marks.opaque || hasMarker { break }
        }
        return result
    }

    /// What the lower directories show under a name, or nil for nothing.
    func entry(_ name: NameRef, in node: UInt32, _ tree: ApplyTree) throws(SystemCallError) -> LowerEntry? {
        let arena = tree.arena
        for directory in try directories(of: node, tree) {
            if try hasPrefixedWhiteout(name, in: directory, arena) { return nil }
            guard let metadata = try directory.descriptor.metadataIfPresent(arena.pointer(name)) else { continue }
            if metadata.isWhiteoutDevice, dialect.recognises.contains(.device) { return nil }
            if dialect.recognises.contains(.attributeFile), metadata.kind == .regular, metadata.size == 0,
                try reader.marks(of: arena.pointer(name), in: directory.descriptor, dialect: dialect).whiteout
            {
                return nil
            }
            return LowerEntry(metadata: metadata, directory: directory, name: name)
        }
        return nil
    }

    /// The names that the lower directories show in a directory, NUL-terminated.
    func names(in node: UInt32, _ tree: ApplyTree) throws(SystemCallError) -> [UInt8] {
        var names: [UInt8] = []
        var seen = Set<[UInt8]>()
        var listing = DirectoryReader()
        for handle in try directories(of: node, tree) {
            let directory = try handle.descriptor.open(NamePointer("."), [.readOnly, .directory])
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

    private func hasPrefixedWhiteout(_ name: NameRef, in directory: DirectoryHandle, _ arena: NameArena)
        throws(SystemCallError) -> Bool
    {
        guard dialect.recognises.contains(.prefixedFile), name.length <= 251 else { return false }
        let marker = WhiteoutName.prefix.description.utf8Bytes + arena[name].copied() + [0]
        return try directory.descriptor.metadataIfPresent(NamePointer(terminated: marker.rawBytes)) != nil
    }

    private func hasMarkerFile(_ directory: borrowing OwnedDescriptor) throws(SystemCallError) -> Bool {
        guard dialect.recognises.contains(.markerFile) else { return false }
        return try directory.metadataIfPresent(NamePointer(WhiteoutName.opaqueMarker)) != nil
    }
}
