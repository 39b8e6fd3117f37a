import Glibc
import LayerModel
import LayerRules

/// Whether directories of a path that are not there are made.
enum Creation {
    case none
    /// Not where this layer has deleted one: what a whiteout below it speaks of is gone already.
    case unlessDeleted
    case any
}

/// Finding directories beneath the root, with links followed as inside a chroot.
extension PackJob {
    private enum Step {
        case directory(UInt32)
        case link(UInt32)
        case missing
    }

    /// The directory at a clean path, or nil where there is none and none is to be made.
    ///
    /// Throws ELOOP or ENOTDIR where links go in circles or a component is no directory.
    mutating func directory(at path: RawSpan, create: Creation) throws(LayerError) -> UInt32? {
        var node = PackTree.root
        var position = 0
        while position < path.byteCount {
            var end = position
            while end < path.byteCount, path[end] != UInt8(ascii: "/") { end += 1 }
            guard end - position <= EntryRules.longestComponent else { throw refusal(.longComponent) }
            let name = try name(path.extracting(position..<end), in: node)
            switch try step(into: name, create: create) {
            case .directory(let child): node = child
            case .missing: return nil
            case .link(let link):
                var pending = target(link)
                pending.append(UInt8(ascii: "/"))
                for index in end..<path.byteCount { pending.append(path[index]) }
                return try follow(pending, from: node, create: create)
            }
            position = end + 1
        }
        return node
    }

    /// Walks a path with `.`, `..` and links in it; the root is its own parent.
    private mutating func follow(_ path: [UInt8], from start: UInt32, create: Creation) throws(LayerError) -> UInt32? {
        var pending = path
        var node = pending.first == UInt8(ascii: "/") ? PackTree.root : start
        var links = 1
        var position = 0
        while position < pending.count {
            var end = position
            while end < pending.count, pending[end] != UInt8(ascii: "/") { end += 1 }
            let count = end - position
            if count == 2, pending[position] == UInt8(ascii: "."), pending[position + 1] == UInt8(ascii: ".") {
                node = tree.directories[node].parent
            } else if count > 1 || (count == 1 && pending[position] != UInt8(ascii: ".")) {
                guard count <= EntryRules.longestComponent else { throw refusal(.longLinkComponent) }
                let name = try name(pending.rawBytes.extracting(position..<end), in: node)
                switch try step(into: name, create: create) {
                case .directory(let child): node = child
                case .missing: return nil
                case .link(let link):
                    links += 1
                    guard links <= EntryRules.linkLimit else {
                        throw LayerError(SystemCallError("openat", errno: ELOOP), "pack", path: nil)
                    }
                    let target = target(link)
                    if target.first == UInt8(ascii: "/") { node = PackTree.root }
                    pending = target + [UInt8(ascii: "/")] + pending[end...]
                    position = 0
                    continue
                }
            }
            position = end + 1
        }
        return node
    }

    private mutating func step(into name: UInt32, create: Creation) throws(LayerError) -> Step {
        let known = tree.names[name]
        switch known.kind {
        case .directory: return .directory(tree.inodes[known.inode].content)
        case .symbolicLink:
            tree.mark(name, .followed)
            return .link(known.inode)
        case .unknown:
            // A name that waits for its hard link is no directory.
            if known.flags.contains(.deferred) { return try notDirectory(name, create) }
            let isHidden = known.flags.contains(.whiteout)
            guard create == .any || create == .unlessDeleted && !isHidden else { return .missing }
            return .directory(makeImpliedDirectory(name))
        default: return try notDirectory(name, create)
        }
    }

    /// ENOTDIR where a directory is wanted, else there is just nothing.
    private func notDirectory(_ name: UInt32, _ create: Creation) throws(LayerError) -> Step {
        guard create == .any else { return .missing }
        throw LayerError(SystemCallError("openat", errno: ENOTDIR), "pack", path: tree.path(name))
    }

    /// The text of a symbolic link.
    private func target(_ inode: UInt32) -> [UInt8] {
        let link = tree.inodes[inode]
        return tree.arena.span(link.content, Int(link.size)).copied()
    }

    /// Makes a directory that the archive names only as part of a path: 0755, root's.
    private mutating func makeImpliedDirectory(_ name: UInt32) -> UInt32 {
        let hides = clear(name)
        var inode = PackInode()
        inode.mode = UInt16(EntryKind.directory.modeBits | 0o755)
        let node = tree.makeDirectory(inode, at: name, .implied)
        if hides { markOpaque(node) }
        return node
    }
}
