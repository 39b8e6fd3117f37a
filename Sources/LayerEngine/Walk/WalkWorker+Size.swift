import Glibc
import LayerModel
import LinuxIO

/// Sums over a tree; files with several names are kept apart, since each counts once.
struct SizeSums: Sendable {
    /// Bytes of all non-directories, each inode once.
    var apparent: UInt64 = 0
    /// Allocated bytes, directories included (C21).
    var allocated: UInt64 = 0
    /// Bytes that the headers of a layer of it would name.
    var headerSum: UInt64 = 0
    var entries: UInt64 = 0
    var inodes: UInt64 = 0
    var linked: [LinkedInode] = []

    struct LinkedInode: BitwiseCopyable, Sendable, Hashable {
        var device: UInt64
        var inode: UInt64
        var size: UInt64
        var allocated: UInt64
        var isRegular: Bool

        static func == (left: LinkedInode, right: LinkedInode) -> Bool {
            left.device == right.device && left.inode == right.inode
        }
        func hash(into hasher: inout Hasher) {
            hasher.combine(device)
            hasher.combine(inode)
        }
    }

    mutating func add(_ metadata: EntryMetadata) {
        entries += 1
        let size = metadata.size > 0 ? UInt64(metadata.size) : 0
        if metadata.kind == .directory {
            inodes += 1
            allocated += metadata.blocks * 512
            return
        }
        let isRegular = metadata.kind == .regular
        if metadata.linkCount > 1 {
            linked.append(
                LinkedInode(
                    device: metadata.device, inode: metadata.inode, size: size, allocated: metadata.blocks * 512,
                    isRegular: isRegular))
            return
        }
        count(size, metadata.blocks * 512, isRegular)
    }

    private mutating func count(_ size: UInt64, _ blocks: UInt64, _ isRegular: Bool) {
        inodes += 1
        apparent += size
        allocated += blocks
        if isRegular { headerSum += size }
    }

    mutating func add(_ other: SizeSums) {
        apparent += other.apparent
        allocated += other.allocated
        headerSum += other.headerSum
        entries += other.entries
        inodes += other.inodes
        linked += other.linked
    }

    /// Counts every inode with several names once.
    mutating func countLinked() {
        for inode in Set(linked) { count(inode.size, inode.allocated, inode.isRegular) }
        linked = []
    }
}

extension WalkWorker {
    /// Adds up one directory; only the names of its subdirectories are kept. Bookkeeping of aufs counts, as in Docker's
    /// size of a branch.
    mutating func sum(_ directory: UInt32) throws(LayerError) {
        let record = store.directories[Int(directory)]
        guard let handle = try openUpper(directory) else { return }
        scanned.removeAll(keepingCapacity: true)
        let skippedBefore = tally.skippedUnreadable
        do throws(SystemCallOrLayerError) {
            let ignored = record.parent == noIndex ? plan.ignoredAtTop : []
            try Self.sum(
                handle, skips: plan.skipUnreadable, ignored, keepsAll: plan.isFiltered, &reader, &nameWriter, &scanned,
                &tally, &ahead, record.upper)
        } catch { throw unwrap(error, "add up directory", directory) }
        for index in 0..<scanned.count {
            let name = scanned[index]
            guard passes(name.name, .unknown, in: directory) else { continue }
            if name.kind != .directory || plan.asksOfEntries {
                lookAhead(from: index, in: handle)
                guard let metadata = try lookForSum(name.name, record.upper, in: handle, directory),
                    admits(metadata, called: name.name, in: directory)
                else { continue }
                if metadata.kind != .directory {
                    tally.sums.add(metadata)
                    continue
                }
            }
            _ = try addDirectory(
                directory, name: name.name, entry: noIndex, upper: try physicalChild(record.upper, name.name),
                rest: .empty, base: .empty)
        }
        if tally.skippedUnreadable > skippedBefore { warn("skipped unreadable names in", directory, .empty) }
        opener.keep(record.upper, handle)
    }

    /// Metadata of a name that was kept for later; nil where it is gone, or left out because it cannot be read.
    private mutating func lookForSum(
        _ name: NameRef, _ origin: UInt32, in handle: borrowing OwnedDescriptor, _ directory: UInt32
    ) throws(LayerError) -> EntryMetadata? {
        do throws(SystemCallError) { return try metadata(of: name, origin: origin, in: handle) } catch {
            guard plan.skipUnreadable, error.errno == EACCES || error.errno == EPERM else {
                throw failure(error, "add up directory", directory)
            }
            tally.skippedUnreadable += 1
            return nil
        }
    }

    /// Adds up the names of an open directory, and lists its subdirectories; and all names, from where a look at one waits for
    /// a disk, so that they are looked up many at a time.
    private static func sum(
        _ handle: borrowing OwnedDescriptor, skips: Bool, _ ignored: [PathBytes], keepsAll: Bool,
        _ reader: inout DirectoryReader, _ writer: inout NameWriter, _ later: inout [ScannedName],
        _ tally: inout WalkTally, _ ahead: inout LookAhead, _ origin: UInt32
    ) throws(SystemCallOrLayerError) {
        reader.restart()
        do throws(SystemCallError) { tally.sums.add(try handle.metadata()) } catch { throw .call(error) }
        tally.io.stats += 1
        while true {
            let next: DirectoryEntry?
            do throws(SystemCallError) { next = try reader.next(of: handle) } catch { throw .call(error) }
            guard let entry = next else { return }
            if !ignored.isEmpty, ignored.contains(PathBytes(reader.name(of: entry).copied())) { continue }
            var kind = entry.kind
            if kind != .directory, !ahead.isOn, !keepsAll {
                let found: EntryMetadata?
                tally.io.stats += 1
                do throws(SystemCallError) {
                    let start = ahead.times() ? ContinuousClock.now : nil
                    found = try handle.metadataIfPresent(reader.pointer(of: entry))
                    if let start { ahead.note(start.duration(to: .now)) }
                } catch {
                    guard skips, error.errno == EACCES || error.errno == EPERM else { throw .call(error) }
                    tally.skippedUnreadable += 1
                    continue
                }
                guard let metadata = found else { continue }
                if metadata.kind != .directory {
                    tally.sums.add(metadata)
                    continue
                }
                kind = .directory
            }
            do throws(LayerError) {
                let name = try writer.append(reader.name(of: entry))
                later.append(
                    ScannedName(name: name, key: 0, inode: 0, origin: origin, order: 0, kind: kind, flags: []))
            } catch { throw .layer(error) }
        }
    }
}
