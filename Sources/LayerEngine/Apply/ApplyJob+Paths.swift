import LayerModel
import LinuxIO

/// The directory part of the last name and where it led: the names of one directory mostly follow each other.
struct PreviousDirectory {
    private var path: [UInt8] = []
    private var node: UInt32?
    private var generation: UInt64 = 0

    /// Where `path` leads, if it is the same as the last one and still leads there.
    func node(at path: RawSpan, in tree: ApplyTree) -> UInt32? {
        guard let node, generation == tree.generation, bytesEqual(self.path.rawBytes, path) else { return nil }
        precondition(!tree.nodes[Int(node)].flags.contains(.removed), "a removed directory was still believed in")
        return node
    }

    /// Remembers where `path` led when the tree was of that generation.
    mutating func remember(_ node: UInt32, at path: RawSpan, _ generation: UInt64) {
        self.path.removeAll(keepingCapacity: true)
        for index in 0..<path.byteCount { self.path.append(path[index]) }
        self.node = node
        self.generation = generation
    }

    mutating func forget() { node = nil }
}

/// Finding directories beneath the root, with links followed as inside a chroot.
extension ApplyJob {
    /// Links followed on one path, as the kernel's limit.
    private static var linkLimit: Int { 40 }

    /// Whether directories of a path that are not there are made.
    enum Creation {
        case none
        /// Not where this layer has deleted one: what a whiteout below it speaks of is gone already.
        case unlessDeleted
        case any
    }

    private enum Step {
        case directory(UInt32)
        case link([UInt8])
        case missing
    }

    /// The directory at a clean path, or nil where there is none and none is to be made.
    ///
    /// Throws `.io` with ELOOP or ENOTDIR where links go in circles or a component is no directory.
    func directory(at path: RawSpan, create: Creation) throws(LayerError) -> UInt32? {
        var node = ApplyTree.rootNode
        var position = 0
        while position < path.byteCount {
            var end = position
            while end < path.byteCount, path[end] != UInt8(ascii: "/") { end += 1 }
            guard end - position <= 255 else { throw refusal(.invalidArchive, "a component of a path is too long") }
            let record = try tree.record(of: path.extracting(position..<end), in: node)
            switch try step(into: record, of: node, create: create) {
            case .directory(let child): node = child
            case .missing: return nil
            case .link(var pending):
                pending.append(UInt8(ascii: "/"))
                for index in end..<path.byteCount { pending.append(path[index]) }
                return try follow(pending, from: node, create: create)
            }
            position = end + 1
        }
        return node
    }

    /// Walks a path with `.`, `..` and links in it; the root is its own parent.
    private func follow(_ path: [UInt8], from start: UInt32, create: Creation) throws(LayerError) -> UInt32? {
        var pending = path
        var node = pending.first == UInt8(ascii: "/") ? ApplyTree.rootNode : start
        var links = 1
        var position = 0
        while position < pending.count {
            var end = position
            while end < pending.count, pending[end] != UInt8(ascii: "/") { end += 1 }
            let count = end - position
            if count == 2, pending[position] == UInt8(ascii: "."), pending[position + 1] == UInt8(ascii: ".") {
                if node != ApplyTree.rootNode { node = tree.nodes[Int(node)].parent }
            } else if count > 1 || (count == 1 && pending[position] != UInt8(ascii: ".")) {
                guard count <= 255 else { throw refusal(.invalidArchive, "a link's component is too long") }
                let record = try tree.record(of: pending.rawBytes.extracting(position..<end), in: node)
                switch try step(into: record, of: node, create: create) {
                case .directory(let child): node = child
                case .missing: return nil
                case .link(let target):
                    links += 1
                    guard links <= Self.linkLimit else {
                        throw LayerError(SystemCallError("openat", errno: 40), "apply", path: nil)
                    }
                    if target.first == UInt8(ascii: "/") { node = ApplyTree.rootNode }
                    pending = target + [UInt8(ascii: "/")] + pending[end...]
                    position = 0
                    continue
                }
            }
            position = end + 1
        }
        return node
    }

    private func step(into record: UInt32, of node: UInt32, create: Creation) throws(LayerError) -> Step {
        let child = tree.records[Int(record)].child
        if child != 0, tree.records[Int(record)].kind == .directory { return .directory(child) }
        switch try kind(of: record, in: node) {
        case .directory:
            return .directory(try tree.makeNode(record, flags: []))
        case .symbolicLink:
            tree.follow(record)
            return .link(try linkTarget(record, in: node))
        case .unknown:
            return try stepIntoMissing(record, of: node, create: create)
        default:
            return try notDirectory(record, of: node, create)
        }
    }

    /// ENOTDIR where a directory is wanted, else there is just nothing.
    private func notDirectory(_ record: UInt32, of node: UInt32, _ create: Creation) throws(LayerError) -> Step {
        guard create == .any else { return .missing }
        throw LayerError(
            SystemCallError("openat", errno: 20), "apply",
            path: tree.path(of: tree.records[Int(record)].name, in: node))
    }

    /// A component that the target does not have: a lower directory may have it, else it is made.
    private func stepIntoMissing(_ record: UInt32, of node: UInt32, create: Creation) throws(LayerError) -> Step {
        let flags = tree.records[Int(record)].flags
        // A name that waits for its hard link is no directory.
        if flags.contains(.deferred) { return try notDirectory(record, of: node, create) }
        let isHidden = flags.contains(.whiteout)
        if !isHidden, let found = try lowerEntry(record, in: node) {
            switch found.metadata.kind {
            case .symbolicLink:
                tree.follow(record)
                return .link(try lowerLinkTarget(found))
            case .directory:
                return .directory(try copyUpDirectory(found, record, in: node))
            default:
                return try notDirectory(record, of: node, create)
            }
        }
        guard create == .any || create == .unlessDeleted && !isHidden else { return .missing }
        return .directory(try makeImpliedDirectory(record, in: node))
    }

    /// What lies on disk under a name; `.unknown` for nothing (or a whiteout of this layer).
    func kind(of record: UInt32, in node: UInt32) throws(LayerError) -> EntryKind {
        let current = tree.records[Int(record)]
        if current.flags.contains(.known) { return current.kind }
        if isMarkerName(current.name) { return .unknown }
        let handle = try handle(node)
        let arena = tree.arena
        report.io.stats += 1
        let metadata = try attempt { () throws(SystemCallError) in
            try handle.descriptor.metadataIfPresent(arena.pointer(current.name))
        }
        var isDeleted = false
        if isUpper, let metadata, metadata.isWhiteoutDevice {
            isDeleted = true
        } else if let upper, metadata == nil, !tree.nodes[Int(node)].flags.contains(.fresh) {
            isDeleted = try attempt { () throws(SystemCallError) in
                try upper.writer.isDeleted(arena[current.name], in: handle)
            }
        }
        tree.look(at: record, found: metadata?.kind ?? .unknown, isDeleted: isDeleted)
        return tree.records[Int(record)].kind
    }

    /// The text of a link in the target.
    func linkTarget(_ record: UInt32, in node: UInt32) throws(LayerError) -> [UInt8] {
        let handle = try handle(node)
        let arena = tree.arena
        let name = tree.records[Int(record)].name
        let scratch = scratch
        let count = try attempt { () throws(SystemCallError) in
            try handle.descriptor.readLink(arena.pointer(name), into: scratch, 0..<4096)
        }
        return scratch.span(0..<count).copied()
    }

    /// Makes a directory that the archive names only as part of a path: 0755, root's (A17).
    func makeImpliedDirectory(_ record: UInt32, in node: UInt32) throws(LayerError) -> UInt32 {
        try inspect(node)
        let hides = try clear(record, in: node)
        try makeDirectoryName(record, in: node, mode: 0o755)
        let child = try tree.makeNode(record, flags: .fresh)
        let uid = options.uidMap.hostRoot
        let gid = options.gidMap.hostRoot
        try setDirectoryMetadata(record, in: node, DirectoryMetadata(mode: 0o755, uid: uid, gid: gid, isNew: true))
        if hides { try markOpaque(child) }
        return child
    }
}
