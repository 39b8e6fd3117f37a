import Glibc
import LayerModel
import LayerRules
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

/// Finds directories beneath the root, with links followed as inside a chroot.
struct PathFinder<Target: UnpackTarget> {
    private let target: Target
    private let isLenient: Bool

    init(_ target: Target) {
        self.target = target
        isLenient = target.options.lenientNames
    }

    private var tree: ApplyTree { target.tree }

    /// A name of the archive without empty components and dots; `refusal` is for one that climbs above the root.
    func clean(_ name: RawSpan, into cleaned: inout ArchiveName, otherwise refusal: EntryRefusal) throws(LayerError) {
        do throws(ArchiveName.Problem) {
            try cleaned.clean(name, lenient: isLenient)
        } catch {
            throw target.log.refusal(refusal)
        }
    }

    /// The directory at a clean path, or nil where there is none and none is to be made.
    ///
    /// Throws `.io` with ELOOP or ENOTDIR where links go in circles or a component is no directory.
    func directory(at path: RawSpan, _ create: Creation) throws(LayerError) -> UInt32? {
        var node = ApplyTree.rootNode
        var position = 0
        while position < path.byteCount {
            var end = position
            while end < path.byteCount, path[end] != UInt8(ascii: "/") { end += 1 }
            guard end - position <= EntryRules.longestComponent else {
                throw target.log.refusal(.longComponent)
            }
            let place = try tree.place(of: path.extracting(position..<end), in: node)
            switch try step(into: place, create) {
            case .directory(let child): node = child
            case .missing, .other: return nil
            case .link(var pending):
                pending.append(UInt8(ascii: "/"))
                for index in end..<path.byteCount { pending.append(path[index]) }
                return try follow(pending, from: node, create)
            }
            position = end + 1
        }
        return node
    }

    /// Walks a path with `.`, `..` and links in it; the root is its own parent.
    private func follow(_ path: [UInt8], from start: UInt32, _ create: Creation) throws(LayerError) -> UInt32? {
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
                guard count <= EntryRules.longestComponent else {
                    throw target.log.refusal(.longLinkComponent)
                }
                let place = try tree.place(of: pending.rawBytes.extracting(position..<end), in: node)
                switch try step(into: place, create) {
                case .directory(let child): node = child
                case .missing, .other: return nil
                case .link(let text):
                    links += 1
                    guard links <= EntryRules.linkLimit else {
                        throw LayerError(SystemCallError("openat", errno: ELOOP), "apply", path: nil)
                    }
                    if text.first == UInt8(ascii: "/") { node = ApplyTree.rootNode }
                    pending = text + [UInt8(ascii: "/")] + pending[end...]
                    position = 0
                    continue
                }
            }
            position = end + 1
        }
        return node
    }

    private func step(into place: NamePlace, _ create: Creation) throws(LayerError) -> PathStep {
        if let child = tree.directory(place), tree.kind(place) == .directory { return .directory(child) }
        let step: PathStep
        switch try target.kind(of: place) {
        case .directory: return .directory(try tree.makeNode(place, flags: []))
        case .symbolicLink:
            tree.follow(place)
            return .link(try target.entries.linkTarget(place.name, in: try target.entries.handle(place.node)))
        case .unknown: step = try stepIntoMissing(place, create)
        default: step = .other
        }
        guard case .other = step, create == .any else { return step }
        throw LayerError(SystemCallError("openat", errno: ENOTDIR), "apply", path: tree.path(of: place))
    }

    /// A component that the target does not have: a lower directory may have it, else it is made.
    private func stepIntoMissing(_ place: NamePlace, _ create: Creation) throws(LayerError) -> PathStep {
        let flags = tree.flags(place)
        // A name that waits for its hard link is no directory.
        if flags.contains(.deferred) { return .other }
        let isHidden = flags.contains(.whiteout)
        let step: PathStep = isHidden ? .missing : try target.stepThroughLower(place)
        guard case .missing = step, create == .any || create == .unlessDeleted && !isHidden else { return step }
        let child = try target.makeImpliedDirectory(place)
        if !isHidden { target.noteImplied(child) }
        return .directory(child)
    }
}
