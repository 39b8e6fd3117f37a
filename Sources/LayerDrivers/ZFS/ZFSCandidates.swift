import LayerModel
import LinuxIO

/// Turns the list of `zfs diff` into the set of inodes that a comparison must look at.
///
/// A clone's files keep the inode numbers of their origin's, so an inode that is on both sides and not in the list is one
/// and the same. The list names each object once, by one of its names: where a changed file has several, or anything in
/// the list cannot be found where it must be, everything is compared.
enum ZFSCandidates {
    /// The inodes of everything in `list` and of the directories above, on both sides; nil where the list does not do.
    static func inodes(_ list: [UInt8], new: PathBytes, old: PathBytes) -> Set<UInt64>? {
        var all: Set<UInt64>?
        for reading in ZFSDifference.readings(of: list) {
            guard let found = inodes(reading, new: new, old: old) else { continue }
            all = (all ?? []).union(found)
        }
        return all
    }

    private static func inodes(_ reading: ZFSDifference, new: PathBytes, old: PathBytes) -> Set<UInt64>? {
        do throws(SystemCallError) {
            var search = CandidateSearch(
                new: try new.open([.pathOnly, .directory]), old: try old.open([.pathOnly, .directory]), top: new)
            for line in reading.lines {
                let isOld = line.change == UInt8(ascii: "-") || line.change == UInt8(ascii: "R")
                guard try search.add(line.path, mustBe: isOld ? .old : .new) else { return nil }
                if let target = line.newPath, try !search.add(target, mustBe: .new) { return nil }
            }
            return search.found
        } catch {
            return nil
        }
    }
}

private struct CandidateSearch: ~Copyable {
    enum Side { case new, old }

    let new: OwnedDescriptor
    let old: OwnedDescriptor
    /// What the paths in the list begin with.
    let top: PathBytes
    private(set) var found: Set<UInt64> = []
    private var directories: Set<[UInt8]> = []

    init(new: consuming OwnedDescriptor, old: consuming OwnedDescriptor, top: PathBytes) {
        self.new = new
        self.old = old
        self.top = top
    }

    /// Adds a path's inodes and those of its directories; false where it is not there, or has several names.
    mutating func add(_ path: PathBytes, mustBe side: Side) throws(SystemCallError) -> Bool {
        guard let relative = relative(path) else { return false }
        var metadata = try look(relative, side)
        guard let here = metadata else { return false }
        found.insert(here.inode)
        if here.kind != .directory, here.linkCount > 1 { return false }
        metadata = try look(relative, side == .new ? .old : .new)
        if let there = metadata {
            found.insert(there.inode)
            if there.kind != .directory, there.linkCount > 1 { return false }
        }
        var above = relative[...]
        while !above.isEmpty {
            above = above[..<(above.lastIndex(of: UInt8(ascii: "/")) ?? above.startIndex)]
            guard directories.insert(Array(above)).inserted else { break }
            for side in [Side.new, .old] {
                if let directory = try look(Array(above), side) { found.insert(directory.inode) }
            }
        }
        return true
    }

    /// The path inside the layer; that of the file for one of its attributes.
    private func relative(_ path: PathBytes) -> [UInt8]? {
        let (bytes, top) = (path.bytes, top.bytes)
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
    private func look(_ path: [UInt8], _ side: Side) throws(SystemCallError) -> EntryMetadata? {
        let name = path.isEmpty ? PathBytes(".") : PathBytes(path)
        let resolve: ResolveFlags = [.beneath, .noSymlinks, .noCrossing]
        do throws(SystemCallError) {
            return try name.withName { (name) throws(SystemCallError) in
                switch side {
                case .new: try new.open(name, [.pathOnly, .noFollow], resolve: resolve).metadata()
                case .old: try old.open(name, [.pathOnly, .noFollow], resolve: resolve).metadata()
                }
            }
        } catch {
            // ENOENT, EXDEV, ENOTDIR, ELOOP: not there, or on the way something else.
            guard [2, 18, 20, 40].contains(error.errno) else { throw error }
            return nil
        }
    }
}
