import LayerCompression
import LayerEngine
import LayerModel
import LinuxIO

/// Parts of the engine, for the package Benchmarks, which cannot see into this one.
package enum EnginePart {
    /// What a walk found, and what it asked of the kernel.
    package struct Counts: Sendable {
        package var entries: Int
        /// Opens, stats, directory reads, attributes, reads, creations, entries into the ring.
        package var calls: Int
        package var ringEnters: Int

        init(entries: Int, _ io: IOCounters) {
            self.entries = entries
            calls = Int(
                io.opens + io.stats + io.directoryReads + io.attributeCalls + io.inlineReads + io.creates
                    + io.ringEnters)
            ringEnters = Int(io.ringEnters)
        }
    }

    /// Keeps a name of ordinary length so many times.
    package static func appendNames(_ count: Int) throws {
        let name = Array("a-file-of-ordinary-length.txt".utf8)
        let arena = try NameArena()
        for _ in 0..<count { _ = try arena.append(name.rawBytes) }
    }

    /// Adds up the tree at `path`; the root is an entry.
    package static func size(of path: String) throws -> Counts {
        let report = try DiffEngine.size(source(path, .auto))
        return Counts(entries: Int(report.entries), report.io)
    }

    /// Writes the layer of the tree at `path` to nowhere.
    package static func diff(of path: String, _ io: IOMode) throws -> Counts {
        var sink = NullSink()
        let report = try DiffEngine.write(source(path, io), options: DiffOptions(), into: &sink)
        return Counts(entries: report.entries, report.io)
    }

    /// Opens and reads 1,000 files of 300 bytes, 50 in each of 20 directories below `path`, through the ring; returns how often
    /// the kernel was entered.
    package static func readThroughRing(below path: String, window: Int) throws -> UInt64 {
        try readRing(below: path, window: window)
    }

    private static func source(_ path: String, _ io: IOMode) -> SourceOptions {
        var source = SourceOptions(upper: PathBytes(path))
        source.workers = 2
        source.io = io
        return source
    }
}

private struct Wrong: Error {}

private func readRing(below root: String, window: Int) throws -> UInt64 {
    var ring = try Ring(entries: window)
    let arena = try NameArena()
    let slab = Slab(capacity: window * 512)
    var free = Array(0..<window)
    var left = 1000
    // What was opened is read; tokens of reads have a bit more.
    let isRead = UInt64(1) << 32
    func take(_ ring: inout Ring, wait: Bool) throws -> Bool {
        guard let done = try ring.nextCompletion(wait: wait) else { return false }
        let slot = Int(done.token & (isRead - 1))
        if done.token & isRead == 0 {
            guard done.result >= 0 else { throw Wrong() }
            try ring.read(
                OwnedDescriptor(adopting: done.result), into: slab, slot * 512..<slot * 512 + 400, at: 0,
                token: done.token | isRead)
        } else {
            guard done.result == 300 else { throw Wrong() }
            free.append(slot)
        }
        return true
    }
    for directory in 0..<20 {
        let path = Array("\(root)/directory\(directory)".utf8)
        let reference = try arena.append(path.rawBytes)
        let opened = try OwnedDescriptor.open(arena.pointer(reference), [.readOnly, .directory])
        for index in 0..<50 {
            while free.isEmpty { _ = try take(&ring, wait: true) }
            let name = try arena.append(Array("file\(index).txt".utf8).rawBytes)
            let slot = free.removeLast()
            try ring.open(opened, name, in: arena, [.readOnly, .noFollow], token: UInt64(slot))
            left -= 1
        }
        try ring.submit()
        while ring.inFlight > 0 { _ = try take(&ring, wait: true) }
    }
    guard left == 0 else { throw Wrong() }
    return ring.counters.enters
}
