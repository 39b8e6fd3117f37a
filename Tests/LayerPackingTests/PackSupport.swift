import Glibc
import LayerCompression
import LayerEngine
import LayerModel
import LayerMounts
import LayerPacking
import LayerPipeline
import TestSupport

/// A stream in memory.
struct MemorySink: ByteSink, ~Copyable {
    var bytes: [UInt8] = []
    mutating func write(_ bytes: RawSpan) throws(LayerError) { self.bytes += bytes.copied() }
    mutating func finish() throws(LayerError) {}
}

/// A packed layer in memory.
struct Packed {
    var tar: [UInt8]
    var image: [UInt8]
    /// Pieces of the extra file and their places.
    var pieces: [(offset: Int64, bytes: [UInt8])] = []
    var report: PackReport
    /// Whether directories that the archive names only as part of a path are taken for its own, as overlayfs does.
    var countsImplied = false

    /// The tag of the layers of tests.
    static let tag = [UInt8](repeating: UInt8(ascii: "a"), count: 64)

    /// Packs an archive that comes in pieces. `skips`: bodies are not read where that is possible.
    init(
        _ tar: [UInt8], _ options: PackOptions = PackOptions(), pieceSize: Int = 1 << 20, skips: Bool = false,
        uuid: UInt8 = 1
    ) throws {
        var packer = LayerPacker(options)
        var position = 0
        while position < tar.count {
            if skips, packer.skippableBytes > 0 {
                let count = min(packer.skippableBytes, Int64(tar.count - position))
                packer.skip(count)
                position += Int(count)
                continue
            }
            let window = tar.rawBytes.extracting(position..<min(position + pieceSize, tar.count))
            let (consumed, step) = try packer.step(window)
            if case .extra(let range, let offset) = step {
                pieces.append((offset, window.extracting(range).copied()))
            }
            guard consumed > 0 else { throw TestFailure("nothing of a window was used") }
            position += consumed
        }
        let layer = try packer.finish()
        report = layer.report
        var devices = [PackDevice(tag: Self.tag, byteCount: Int64(tar.count))]
        if layer.deviceCount == 2 { devices.append(PackDevice(tag: [], byteCount: report.extraBytes)) }
        var sink = MemorySink()
        try layer.writeImage(devices, uuid: [UInt8](repeating: uuid, count: 16), to: &sink)
        image = sink.bytes
        guard image.count == layer.imageByteCount else {
            throw TestFailure("the image has another length than was said")
        }
        self.tar = tar
    }

    init(_ pieces: [TarPiece], _ options: PackOptions = PackOptions(), uuid: UInt8 = 1) throws {
        try self.init(Tar.archive(pieces), options, uuid: uuid)
    }

    /// The extra file, for layers in which it is small.
    var extra: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Int(report.extraBytes))
        for piece in pieces {
            bytes.replaceSubrange(Int(piece.offset)..<Int(piece.offset) + piece.bytes.count, with: piece.bytes)
        }
        return bytes
    }

    /// The paths of the directories that the archive names only as part of a path, sorted.
    func impliedPaths() throws -> [[UInt8]] {
        let numbers = Set(report.impliedDirectories)
        var paths: [[UInt8]] = []
        try walk(self) { path, inode, _ in if numbers.contains(inode.number) { paths.append(path) } }
        return paths.sorted { $0.lexicographicallyPrecedes($1) }
    }

    /// Writes the files into a directory; returns the index's path and the devices', in order.
    func write(to directory: String) throws -> (index: String, devices: [String]) {
        let index = directory + "/layer.erofs"
        try writeFile(index, image)
        try writeFile(directory + "/layer.tar", tar)
        guard report.extraBytes > 0 else { return (index, [directory + "/layer.tar"]) }
        try writeFile(directory + "/layer.extra", [])
        let file = open(directory + "/layer.extra", O_WRONLY | O_CLOEXEC)
        defer { close(file) }
        for piece in pieces {
            guard pwrite(file, piece.bytes, piece.bytes.count, Int(piece.offset)) == piece.bytes.count else {
                throw TestFailure.call("pwrite", directory + "/layer.extra")
            }
        }
        truncate(directory + "/layer.extra", Int(report.extraBytes))
        return (index, [directory + "/layer.tar", directory + "/layer.extra"])
    }
}

/// Packed layers and what the kernel shows of them.
final class PackedMounts {
    let scratch: TemporaryDirectory
    private var points: [String] = []
    private var number = 0
    private var shorts: [TemporaryDirectory] = []

    init() throws { scratch = try TemporaryDirectory() }

    deinit { for point in points.reversed() { umount2(point, Int32(MNT_DETACH)) } }

    func directory(_ name: String) throws -> String {
        number += 1
        return try scratch.directory("\(number)-\(name)")
    }

    /// Mounts an index by file.
    func mount(index: String, devices: [String]) throws -> String {
        let point = try directory("mount")
        try ErofsMount.mount(
            index: PathBytes(index), devices: devices.map { PathBytes($0) }, at: PathBytes(point), way: .file)
        points.append(point)
        return point
    }

    /// The paths, or links to them where those together are more text than mount(2) takes, which is a page.
    private func shortened(_ paths: [String]) throws -> [String] {
        guard paths.reduce(0, { $0 + $1.utf8.count + 1 }) > 3500 else { return paths }
        let short = try TemporaryDirectory(in: "/tmp")
        shorts.append(short)
        return try paths.enumerated().map { number, path in
            let link = short.path + "/\(number)"
            guard symlink(path, link) == 0 else { throw TestFailure.call("symlink", link) }
            return link
        }
    }

    func mount(_ layer: Packed) throws -> String {
        let (index, devices) = try layer.write(to: try directory("layer"))
        return try mount(index: index, devices: devices)
    }

    /// Mounts an overlay over layers, nearest first.
    func overlay(_ lowers: [String], writable: Bool = false) throws -> String {
        let point = try directory("overlay")
        let lowers = try shortened(lowers)
        var options =
            "lowerdir="
            + (lowers.count == 1 && !writable ? lowers + [try directory("empty")] : lowers).joined(separator: ":")
        if writable { options += ",upperdir=\(try directory("upper")),workdir=\(try directory("work"))" }
        guard Glibc.mount("overlay", point, "overlay", writable ? 0 : UInt(MS_RDONLY), options) == 0 else {
            throw TestFailure.call("mount -t overlay -o \(options)", point)
        }
        points.append(point)
        return point
    }

    /// Unpacks an archive as an upper directory over nothing that is known.
    func unpacked(_ tar: [UInt8], _ change: (inout ApplyOptions) -> Void = { _ in }) throws -> (
        path: String, report: ApplyReport
    ) {
        let path = try directory("upper")
        var options = ApplyOptions()
        options.dialect = .overlay
        change(&options)
        let root = try openPath(path)
        var source = MemorySource(tar)
        return (path, try ApplyEngine.apply(&source, root: root, options: options))
    }

    /// The snapshot of a tree in which what may differ is made equal: the times of directories that are there only as
    /// part of a path, names of whiteouts, and the mark for directories that hold whiteouts.
    func snapshot(_ path: String, implied: [[UInt8]] = [], root: Bool = false) throws -> TreeSnapshot {
        Self.comparable(try TreeSnapshot(path, ignoring: root ? [] : .root), implied: implied)
    }

    static func comparable(_ snapshot: TreeSnapshot, implied: [[UInt8]]) -> TreeSnapshot {
        var snapshot = snapshot
        for path in implied.map({ snapshotPath($0) }) {
            snapshot.entries[path]?.seconds = 0
            snapshot.entries[path]?.nanoseconds = 0
        }
        for (path, entry) in snapshot.entries {
            snapshot.entries[path]?.attributes["trusted.overlay.origin"] = nil
            if entry.kind == .characterDevice, entry.major == 0, entry.minor == 0 {
                snapshot.entries[path]?.firstPath = path
            }
        }
        return snapshot
    }

    private static func snapshotPath(_ path: [UInt8]) -> String {
        path.split(separator: UInt8(ascii: "/")).map { snapshotKey(Array($0)) }.joined(separator: "/")
    }

    /// Packs and unpacks an archive; returns what differs between what the kernel shows of the one and the other, and
    /// between the kernel's view and the reader's.
    func differences(_ tar: [UInt8], _ options: PackOptions = PackOptions()) throws -> [String] {
        let packed = try Packed(tar, options)
        let implied = try packed.impliedPaths()
        let shown = try snapshot(try mount(packed), implied: implied)
        let unpacked = try unpacked(tar) { apply in
            if options.parents == .none { apply.lowers = [] }
        }
        var lines = shown.differences(from: try snapshot(unpacked.path, implied: implied))
        let read = Self.comparable(try TreeSnapshot(reading: packed), implied: implied)
        lines += read.differences(from: shown).map { "reader: " + $0 }
        lines += try linkCounts(packed)
        if packed.report.uniqueFileBytes != unpacked.report.uniqueFileBytes {
            lines.append("\(packed.report.uniqueFileBytes) bytes instead of \(unpacked.report.uniqueFileBytes)")
        }
        if packed.report.presentEntries != unpacked.report.presentEntries {
            lines.append("\(packed.report.presentEntries) names instead of \(unpacked.report.presentEntries)")
        }
        if packed.report.entries != unpacked.report.entries || packed.report.headerSum != unpacked.report.size
            || packed.report.streamBytes != UInt64(tar.count)
        {
            lines.append("the counts differ")
        }
        return lines
    }

    /// Inodes whose link counts are not the number of their names.
    private func linkCounts(_ packed: Packed) throws -> [String] {
        var counts: [UInt64: (said: UInt32, found: UInt32)] = [:]
        try walk(packed) { _, inode, children in
            let names = inode.kind == .directory ? UInt32(2 + children) : 1
            counts[inode.number, default: (inode.linkCount, 0)].found += names
        }
        return counts.filter { $0.value.said != $0.value.found }.map { "inode \($0.key): \($0.value)" }
    }
}

/// Goes through an image with the reader; `body` gets each path, its inode and the number of its subdirectories.
func walk(_ packed: Packed, _ body: ([UInt8], ErofsInode, Int) throws -> Void) throws {
    let reader = try ErofsReader(packed.image.rawBytes)
    var waiting: [(path: [UInt8], inode: ErofsInode)] = [([], try reader.inode(reader.root))]
    var seen: Set<UInt64> = []
    while let (path, directory) = waiting.popLast() {
        guard seen.insert(directory.number).inserted else { throw ErofsProblem.loops }
        var place = ErofsDirectoryPlace()
        var subdirectories = 0
        while let entry = try reader.nextEntry(directory, &place) {
            guard !reader.isDots(entry) else { continue }
            let inode = try reader.inode(entry.number)
            let name = path + (path.isEmpty ? [] : [UInt8(ascii: "/")]) + reader.image.extracting(entry.name).copied()
            if inode.kind == .directory {
                subdirectories += 1
                waiting.append((name, inode))
            } else {
                try body(name, inode, 0)
            }
        }
        try body(path, directory, subdirectories)
    }
}

extension TreeSnapshot {
    /// What the reader finds in an image.
    init(reading packed: Packed) throws {
        var entries: [(path: [UInt8], entry: Entry)] = []
        let reader = try ErofsReader(packed.image.rawBytes)
        let extra = packed.extra
        try walk(packed) { path, inode, _ in
            guard !path.isEmpty else { return }
            var entry = Entry()
            entry.kind = inode.kind
            entry.mode = UInt32(inode.mode) & 0o7777
            (entry.uid, entry.gid) = (inode.uid, inode.gid)
            (entry.seconds, entry.nanoseconds) = (inode.seconds, inode.nanoseconds)
            (entry.major, entry.minor) = (inode.deviceMajor, inode.deviceMinor)
            entry.inode = inode.number
            if inode.kind == .symbolicLink {
                entry.content = reader.image.extracting(try reader.target(inode)).copied()
            }
            let (count, byteCount) = try reader.chunks(inode)
            for index in 0..<count {
                let left = Int(min(inode.size - Int64(index) * byteCount, byteCount))
                switch try reader.chunk(inode, index) {
                case .hole: entry.content += [UInt8](repeating: 0, count: left)
                case .bytes(let device, let offset):
                    let source = device == 1 ? packed.tar : extra
                    entry.content += source[Int(offset)..<Int(offset) + left]
                }
            }
            var position = 0
            while let attribute = try reader.nextAttribute(inode, &position) {
                let name =
                    attribute.prefix.description
                    + String(decoding: reader.image.extracting(attribute.name).copied(), as: UTF8.self)
                entry.attributes[name] = reader.image.extracting(attribute.value).copied()
            }
            entries.append((path, entry))
        }
        // In the order in which a walk of the tree meets them.
        entries.sort { left, right in
            left.path.split(separator: UInt8(ascii: "/")).lexicographicallyPrecedes(
                right.path.split(separator: UInt8(ascii: "/"))
            ) { $0.lexicographicallyPrecedes($1) }
        }
        var firsts: [UInt64: String] = [:]
        var result: [String: Entry] = [:]
        for (path, entry) in entries {
            let key = path.split(separator: UInt8(ascii: "/")).map { snapshotKey(Array($0)) }.joined(separator: "/")
            var entry = entry
            entry.firstPath = entry.kind == .directory ? key : firsts[entry.inode] ?? key
            firsts[entry.inode] = entry.firstPath
            result[key] = entry
        }
        self.init(result)
    }
}

/// The error that packing ends with, and the one of unpacking.
func refusals(_ tar: [UInt8], _ options: PackOptions = PackOptions()) throws -> (
    packing: LayerError?, unpacking: LayerError?
) {
    var packing: LayerError?
    do throws(any Error) { _ = try Packed(tar, options) } catch { packing = error as? LayerError }
    var unpacking: LayerError?
    let mounts = try PackedMounts()
    do throws(any Error) {
        _ = try mounts.unpacked(tar) { if options.parents == .none { $0.lowers = [] } }
    } catch { unpacking = error as? LayerError }
    return (packing, unpacking)
}

/// Whether two errors say the same of an archive.
func isSame(_ left: LayerError?, _ right: LayerError?) -> Bool {
    left?.code == right?.code && left?.path == right?.path && left?.cause == right?.cause
}
