import LayerModel
import LinuxIO
import Synchronization

/// What comes after the last entry.
extension ApplyJob {
    /// Waits for the writers, makes the links that waited, and sets what directories were to have in the end.
    func finish() throws(LayerError) {
        try drain()
        precondition(crew.hasDoneAll, "files were handed over that nobody wrote")
        try makeDeferredLinks()
        try removePlinkDirectory()
        try finishDirectories()
        if options.sync == .syncfs {
            let root = try handle(ApplyTree.rootNode)
            try attempt { () throws(SystemCallError) in
                // syncfs(2) refuses descriptors that are handles on a name only.
                let readable = try root.descriptor.open(NamePointer("."), [.readOnly, .directory])
                try readable.syncFileSystem()
            }
        }
        countPresent()
        collect()
    }

    /// Counts the names that are there now; which directories are gone is known by here.
    private func countPresent() {
        for index in 1..<max(1, tree.records.count) {
            let record = tree.records[index]
            guard !tree.nodes[Int(record.parent)].flags.contains(.removed) else { continue }
            let isThere = record.kind != .unknown && !record.flags.isDisjoint(with: [.unpacked, .made])
            if isThere || record.flags.contains(.whiteout) { report.presentEntries += 1 }
        }
        guard let upper, upper.dialect.opaque == .markerFile else { return }
        for index in 0..<tree.nodes.count {
            let flags = tree.nodes[index].flags
            if flags.contains(.opaque), !flags.contains(.removed) { report.presentEntries += 1 }
        }
    }

    /// Times of directories, parents first so that each directory is opened from its parent; then, for users who
    /// are not root, modes that would have locked them out, children first.
    private func finishDirectories() throws(LayerError) {
        let arena = tree.arena
        var hasFinalModes = false
        for index in 0..<tree.nodes.count {
            let node = tree.nodes[index]
            if index > 0, tree.nodes[Int(node.parent)].flags.contains(.removed) {
                tree.nodes[index].flags.insert(.removed)
            }
            if tree.nodes[index].flags.contains(.removed) { continue }
            hasFinalModes = hasFinalModes || node.flags.contains(.hasFinalMode)
            guard node.flags.contains(.hasTimes) else { continue }
            if index & 0xff == 0 { try options.cancel.check() }
            let name = tree.records[Int(node.entry)].name
            let parent = try handle(node.parent)
            do throws(SystemCallError) {
                try parent.descriptor.setTimes(
                    arena.pointer(name),
                    access: TimeStamp(seconds: node.accessSeconds, nanoseconds: node.accessNanoseconds),
                    modification: TimeStamp(
                        seconds: node.modificationSeconds, nanoseconds: node.modificationNanoseconds))
            } catch {
                throw LayerError(error, "apply", path: tree.path(of: name, in: node.parent))
            }
        }
        guard hasFinalModes else { return }
        for index in (0..<tree.nodes.count).reversed() {
            let node = tree.nodes[index]
            guard node.flags.contains(.hasFinalMode), !node.flags.contains(.removed) else { continue }
            let name = tree.records[Int(node.entry)].name
            let parent = try handle(node.parent)
            try attempt { () throws(SystemCallError) in
                try parent.descriptor.setMode(arena.pointer(name), node.finalMode)
            }
        }
    }

    /// Gathers counts and warnings of the writers.
    private func collect() {
        crew.shutDown()
        crew.results.totals.change { totals in
            report.io.add(totals.counters)
            warn(of: totals.tolerated)
        }
        report.io.opens += tree.opens
        report.streamBytes = feed.streamBytes
    }

    /// Ends the writers after a failure; a file that was under way is removed by its writer.
    func abandon() {
        batch = nil
        crew.shutDown()
        try? removePlinkDirectory()
    }
}
