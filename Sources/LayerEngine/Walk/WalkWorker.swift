import Glibc
import LayerModel
import LinuxIO

/// One thread of a walk, with everything it reuses from directory to directory.
struct WalkWorker: ~Copyable {
    let plan: WalkPlan
    let store: TreeStore
    let names: NameArena
    var opener: DirectoryOpener
    var reader = DirectoryReader()
    var attributes = AttributeReader()
    var nameWriter: NameWriter
    /// Names of the new side and of the old side of the directory at hand.
    var scanned: [ScannedName] = []
    var scannedBase: [ScannedName] = []
    /// Directories found, to be pushed in one go.
    var found: [UInt32] = []
    var comparer: ContentComparer
    var ahead: LookAhead
    /// How far the names of the directory at hand, of the new and of the old side, are looked up ahead.
    var aheadEnd = 0
    var aheadBaseEnd = 0
    var tally = WalkTally()
    /// The path of a name that a filter is asked of; the directory that it stands in, and where its path ends.
    var filterPath: [UInt8] = []
    var filterDirectory = noIndex
    var filterPrefix = 0

    init(_ plan: WalkPlan) {
        self.plan = plan
        store = plan.store
        names = plan.store.names
        opener = DirectoryOpener(
            store: plan.store, roots: plan.roots, directories: plan.descriptors.directories)
        nameWriter = NameWriter(plan.store.names)
        comparer = ContentComparer()
        ahead = LookAhead(plan.io)
    }

    /// Walks directories until none are left.
    mutating func run() throws(LayerError) {
        var busy = false
        while let directory = plan.stack.pop(wasBusy: busy) {
            busy = true
            do throws(LayerError) {
                try plan.cancel.check()
                try visit(directory)
                plan.stack.push(found)
                if ahead.isCold { plan.isCold() }
            } catch {
                plan.stack.stop()
                throw error
            }
        }
    }

    /// Walks one directory; those found in it stand in `found`, the first one last.
    mutating func visit(_ directory: UInt32) throws(LayerError) {
        found.removeAll(keepingCapacity: true)
        beginLooks()
        switch plan.purpose {
        case .export: try export(directory)
        case .size: try sum(directory)
        case .changes, .difference: try compare(directory)
        }
        found.reverse()
    }

    /// The counts, with those of the opener and the reader.
    func finishTally() -> WalkTally {
        var tally = tally
        tally.io.opens += opener.opens
        tally.io.directoryReads += UInt64(reader.calls)
        ahead.count(into: &tally.io)
        return tally
    }

    // MARK: What every purpose needs

    /// Opens the physical directory of `directory`; nil where it vanished or is skipped because it cannot be read.
    mutating func openUpper(_ directory: UInt32) throws(LayerError) -> OwnedDescriptor? {
        let record = store.directories[Int(directory)]
        do throws(SystemCallError) {
            return try opener.open(record.upper)
        } catch {
            // A name that is gone, or no longer a directory, since its own directory was read.
            if record.parent != noIndex, error.errno == ENOENT || error.errno == ENOTDIR || error.errno == ELOOP {
                try noteVanished(directory, .empty)
                return nil
            }
            if skips(error, "directory", directory, .empty) { return nil }
            throw failure(error, "open directory", directory)
        }
    }

    /// A name that was listed is gone: it is left out, unless the caller wants the walk to fail then.
    func noteVanished(_ directory: UInt32, _ name: NameRef) throws(LayerError) {
        guard plan.failsOnVanished else { return }
        throw LayerError(
            .fileChanged, "look at", path: path(directory, name), cause: .reason("it vanished while the tree was read"),
            hint: "export a tree that nothing writes to, or a snapshot of it")
    }

    /// Whether something that may not be read is left out; then it is counted.
    mutating func skips(_ error: SystemCallError, _ what: String, _ directory: UInt32, _ name: NameRef) -> Bool {
        guard plan.skipUnreadable, error.errno == EACCES || error.errno == EPERM else { return false }
        tally.skippedUnreadable += 1
        warn("skipped unreadable \(what)", directory, name)
        return true
    }

    /// Reads all names of an open directory behind those already in `scanned`.
    mutating func scan(
        _ directory: borrowing OwnedDescriptor, origin: UInt32, order: Int, isRoot: Bool, into base: Bool
    ) throws(SystemCallOrLayerError) {
        let prefixes = plan.dialect.recognises.contains(.prefixedFile)
        let scanner = DirectoryScanner(
            origin: origin, order: UInt16(truncatingIfNeeded: order), stripsPrefix: plan.readsPrefixedWhiteouts,
            hidesMeta: isRoot && prefixes, ignored: isRoot ? plan.ignoredAtTop : [])
        if base {
            try scanner.scan(directory, &reader, &nameWriter, &scannedBase)
        } else {
            try scanner.scan(directory, &reader, &nameWriter, &scanned)
        }
    }

    /// Makes the record of a subdirectory and queues it.
    mutating func addDirectory(
        _ parent: UInt32, name: NameRef, entry: UInt32, upper: UInt32, rest: StackRange, base: StackRange,
        flags: DirectoryFlags = []
    ) throws(LayerError) -> UInt32 {
        let record = DirectoryRecord(
            parent: parent, name: name, entry: entry, upper: upper, rest: rest, base: base, flags: flags)
        let index = try store.addDirectory(record)
        found.append(index)
        return index
    }

    /// The physical directory `name` in `parent`.
    func physicalChild(_ parent: UInt32, _ name: NameRef) throws(LayerError) -> UInt32 {
        let above = store.physical[Int(parent)]
        return try store.addPhysical(
            PhysicalDirectory(layer: above.layer, parent: parent, name: name, depth: above.depth + 1))
    }

    // MARK: Errors

    func failure(
        _ error: SystemCallError, _ operation: String, _ directory: UInt32, _ name: NameRef = .empty
    ) -> LayerError {
        LayerError(error, operation, path: path(directory, name))
    }

    /// The full path of an entry as the user knows it.
    func path(_ directory: UInt32, _ name: NameRef) -> PathBytes {
        var bytes = plan.roots.path(0).bytes
        let inside = store.path(directory: directory, name: name).bytes
        if !inside.isEmpty {
            if bytes.last != UInt8(ascii: "/") { bytes.append(UInt8(ascii: "/")) }
            bytes += inside
            if bytes.last == UInt8(ascii: "/") { bytes.removeLast() }
        }
        return PathBytes(bytes)
    }

    mutating func warn(_ text: String, _ directory: UInt32, _ name: NameRef) {
        // A bound, so that a tree of a million odd files does not make a million strings.
        if tally.warnings.count < 100 { tally.warnings.append("\(text) \(path(directory, name))") }
    }
}

/// What a step may fail with before the path is known.
enum SystemCallOrLayerError: Error {
    case call(SystemCallError)
    case layer(LayerError)
}
