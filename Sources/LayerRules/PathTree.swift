internal import Glibc
public import LayerModel

/// Whether directories of a path that are not there are made.
public enum Creation: Sendable {
    case none
    /// Not where this layer has deleted one: what a whiteout below it speaks of is gone already.
    case unlessDeleted
    case any
}

/// Where one component of a path leads.
public enum PathStep {
    case directory(UInt32)
    case link([UInt8])
    /// To something that is neither.
    case other
    case missing
}

/// Who finds directories beneath a root for an archive's names.
public protocol PathFinding: ~Copyable {
    /// What is being done, for errors.
    static var operation: String { get }
    /// The error for something wrong in the archive.
    func refusal(_ refusal: EntryRefusal) -> LayerError
    /// Takes a name of the archive apart; `refusal` is for one that climbs above the root.
    func clean(_ name: RawSpan, into cleaned: inout ArchiveName, otherwise refusal: EntryRefusal) throws(LayerError)
    /// The directory at a clean path, or nil where there is none and none is to be made.
    ///
    /// Throws `.io` with ELOOP or ENOTDIR where links go in circles or a component is no directory.
    mutating func directory(at path: RawSpan, _ create: Creation) throws(LayerError) -> UInt32?
}

/// A tree of which the directories are numbered: the root is 0. Links are followed as inside a chroot.
///
/// The rules of walking are here alone; a tree says where one name leads.
public protocol PathTree: PathFinding, ~Copyable {
    /// Whether names that climb above the root are held at it instead of refused.
    var isLenient: Bool { get }
    /// Where a name in a directory leads; makes a directory where that is wanted.
    mutating func step(into name: RawSpan, in node: UInt32, _ create: Creation) throws(LayerError) -> PathStep
    /// The directory above; the root is its own.
    func parent(of node: UInt32) -> UInt32
    /// The path of a name that was stepped into; for messages.
    func path(of name: RawSpan, in node: UInt32) -> PathBytes
}

extension PathTree where Self: ~Copyable {
    @inlinable
    public func clean(_ name: RawSpan, into cleaned: inout ArchiveName, otherwise refusal: EntryRefusal)
        throws(LayerError)
    {
        do throws(ArchiveName.Problem) {
            try cleaned.clean(name, lenient: isLenient)
        } catch {
            throw self.refusal(refusal)
        }
    }

    @inlinable
    public mutating func directory(at path: RawSpan, _ create: Creation) throws(LayerError) -> UInt32? {
        var node: UInt32 = 0
        var position = 0
        while position < path.byteCount {
            let end = componentEnd(path, position)
            guard end - position <= EntryRules.longestComponent else { throw refusal(.longComponent) }
            let name = path.extracting(position..<end)
            switch try step(into: name, in: node, create) {
            case .directory(let child): node = child
            case .missing: return nil
            case .other: return try notDirectory(name, in: node, create)
            case .link(var pending):
                pending.append(UInt8(ascii: "/"))
                for index in end..<path.byteCount { pending.append(path[index]) }
                return try follow(pending, from: node, create)
            }
            position = end + 1
        }
        return node
    }

    /// Walks a path with `.`, `..` and links in it.
    @usableFromInline
    mutating func follow(_ path: [UInt8], from start: UInt32, _ create: Creation) throws(LayerError) -> UInt32? {
        var pending = path
        var node = pending.first == UInt8(ascii: "/") ? 0 : start
        var links = 1
        var position = 0
        while position < pending.count {
            let end = componentEnd(pending.rawBytes, position)
            let count = end - position
            if count == 2, pending[position] == UInt8(ascii: "."), pending[position + 1] == UInt8(ascii: ".") {
                node = parent(of: node)
            } else if count > 1 || (count == 1 && pending[position] != UInt8(ascii: ".")) {
                guard count <= EntryRules.longestComponent else { throw refusal(.longLinkComponent) }
                let name = Array(pending[position..<end])
                switch try step(into: name.rawBytes, in: node, create) {
                case .directory(let child): node = child
                case .missing: return nil
                case .other: return try notDirectory(name.rawBytes, in: node, create)
                case .link(let text):
                    links += 1
                    guard links <= EntryRules.linkLimit else {
                        throw LayerError(SystemCallError("openat", errno: ELOOP), Self.operation, path: nil)
                    }
                    if text.first == UInt8(ascii: "/") { node = 0 }
                    pending = text + [UInt8(ascii: "/")] + pending[end...]
                    position = 0
                    continue
                }
            }
            position = end + 1
        }
        return node
    }

    /// ENOTDIR where a directory is to be made, else there is just nothing.
    @usableFromInline
    func notDirectory(_ name: RawSpan, in node: UInt32, _ create: Creation) throws(LayerError) -> UInt32? {
        guard create == .any else { return nil }
        throw LayerError(
            SystemCallError("openat", errno: ENOTDIR), Self.operation, path: path(of: name, in: node))
    }
}

@usableFromInline
func componentEnd(_ path: RawSpan, _ position: Int) -> Int {
    var end = position
    while end < path.byteCount, path[end] != UInt8(ascii: "/") { end += 1 }
    return end
}
