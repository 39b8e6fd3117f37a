import Glibc
import LayerModel
import LinuxIO

/// Turns lists of `zfs diff` into the set of inodes that a comparison of a clone with its origin must look at.
///
/// A clone's files keep the inode numbers of their origin's, so an inode that is on both sides and in no list is one and the
/// same. A directory in which a name came or went has changed itself, so names on one side only are found by it. A list
/// names each object once, by one of its names: where a changed file has several, or something in the list cannot be found
/// where it must be, the search fails, and everything is compared.
struct CandidateSearch: ~Copyable {
    /// The clone, and the layer that it was made from.
    enum Side { case new, old }

    private let new: OwnedDescriptor
    private let old: OwnedDescriptor
    /// What the paths in the lists begin with.
    private let tops: (new: PathBytes, old: PathBytes)
    /// The inodes of everything in the lists and of the directories above, on both sides.
    private(set) var found: Set<UInt64> = []
    private var directories: Set<[UInt8]> = []

    /// Opens both trees, which must be mounted.
    init(new: PathBytes, old: PathBytes) throws(ZFSFailure) {
        let clone = try Self.attempt(new) { () throws(SystemCallError) in try new.open([.pathOnly, .directory]) }
        let origin = try Self.attempt(old) { () throws(SystemCallError) in try old.open([.pathOnly, .directory]) }
        tops = (new, old)
        self.new = clone
        self.old = origin
    }

    /// Adds the difference between the origin's snapshot and what one side is now.
    mutating func add(_ list: [UInt8], of side: Side) throws(ZFSFailure) {
        var isRead = false
        for reading in ZFSDifference.readings(of: list) {
            // A reading that is wrong names what is not there; what it adds on the way does no harm.
            var isRight = true
            for line in reading.lines where try !add(line, side) { isRight = false }
            isRead = isRead || isRight
        }
        guard isRead else { throw Self.doubt("it names what is not there, or cannot be read") }
    }

    /// False where the line names what is not there.
    private mutating func add(_ line: ZFSDifference.Line, _ side: Side) throws(ZFSFailure) -> Bool {
        switch line.change {
        // Gone: the directory that it was in is a line of its own.
        case UInt8(ascii: "-"):
            _ = try add(line.path, side, mayHaveNames: true)
            return true
        // All its names are as new as itself, and their directories are lines of their own.
        case UInt8(ascii: "+"): return try add(line.path, side, mayHaveNames: true)
        case UInt8(ascii: "R"):
            _ = try add(line.path, side, mayHaveNames: true)
            guard let target = line.newPath else { return false }
            return try add(target, side, mayHaveNames: false)
        default: return try add(line.path, side, mayHaveNames: false)
        }
    }

    /// Adds a path's inodes and those of its directories; false where nothing is there on this side.
    private mutating func add(_ path: PathBytes, _ side: Side, mayHaveNames: Bool) throws(ZFSFailure) -> Bool {
        guard let relative = relative(path, side) else { return false }
        var isThere = false
        for at in [Side.new, .old] {
            guard let here = try look(relative, at) else { continue }
            found.insert(here.inode)
            guard at == side else { continue }
            isThere = true
            if !mayHaveNames, here.kind != .directory, here.linkCount > 1 {
                throw Self.doubt("\(path) has several names")
            }
        }
        var above = relative[...]
        while !above.isEmpty {
            above = above[..<(above.lastIndex(of: UInt8(ascii: "/")) ?? above.startIndex)]
            guard directories.insert(Array(above)).inserted else { break }
            for side in [Side.new, .old] {
                if let directory = try look(Array(above), side) { found.insert(directory.inode) }
            }
        }
        return isThere
    }

    /// The path inside the layer; that of the file for one of its attributes.
    private func relative(_ path: PathBytes, _ side: Side) -> [UInt8]? {
        let (bytes, top) = (path.bytes, side == .new ? tops.new.bytes : tops.old.bytes)
        guard bytes.starts(with: top), bytes.count > top.count, bytes[top.count] == UInt8(ascii: "/") else {
            return nil
        }
        var inside = Array(bytes[(top.count + 1)...])
        while inside.last == UInt8(ascii: "/") { inside.removeLast() }
        let marker = Array("/<xattrdir>".utf8)
        guard inside.count >= marker.count else { return inside }
        for start in 0...(inside.count - marker.count) where inside[start...].starts(with: marker) {
            return Array(inside[..<start])
        }
        return inside
    }

    /// What is at a path on one side, nothing followed and nothing left; nil where nothing is.
    private func look(_ path: [UInt8], _ side: Side) throws(ZFSFailure) -> EntryMetadata? {
        let name = path.isEmpty ? PathBytes(".") : PathBytes(path)
        let resolve: ResolveFlags = [.beneath, .noSymlinks, .noCrossing]
        return try Self.attempt(name) { () throws(SystemCallError) in
            do throws(SystemCallError) {
                return try name.withName { (name) throws(SystemCallError) in
                    switch side {
                    case .new: try new.open(name, [.pathOnly, .noFollow], resolve: resolve).metadata()
                    case .old: try old.open(name, [.pathOnly, .noFollow], resolve: resolve).metadata()
                    }
                }
            } catch {
                // ENOENT, EXDEV, ENOTDIR, ELOOP: not there, or on the way something else.
                guard [ENOENT, EXDEV, ENOTDIR, ELOOP].contains(error.errno) else { throw error }
                return nil
            }
        }
    }

    private static func attempt<Result: ~Copyable>(
        _ path: PathBytes, _ body: () throws(SystemCallError) -> Result
    ) throws(ZFSFailure) -> Result {
        do throws(SystemCallError) { return try body() } catch {
            throw .notRun(LayerError(error, "look for what zfs diff lists", path: path))
        }
    }

    private static func doubt(_ why: String) -> ZFSFailure {
        .notRun(LayerError(.unsupported, "use the list of zfs diff", cause: .reason(why)))
    }
}
