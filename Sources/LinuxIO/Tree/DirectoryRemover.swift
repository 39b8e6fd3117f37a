import Glibc
import LayerModel
import Synchronization

/// One thread of a removal: takes a directory, removes what is no directory in it, and queues the rest. Whoever removes
/// the last subdirectory of a directory removes that too.
struct DirectoryRemover: ~Copyable {
    private let plan: RemovalPlan
    private let directories: TreeDirectories
    private var opener: TreeOpener
    private var found: [UInt32] = []
    private var tally = TreeRemovalReport()

    /// Names removed between two looks at whether the caller still wants it.
    private static let patience: UInt64 = 64

    init(_ plan: RemovalPlan) {
        self.plan = plan
        directories = plan.tables.directories
        opener = TreeOpener(directories, root: plan.root, staysInMount: true)
    }

    /// Works until nothing is left.
    mutating func run(_ reader: inout DirectoryReader) throws(LayerError) {
        var busy = false
        while let directory = plan.stack.pop(wasBusy: busy) {
            busy = true
            do throws(LayerError) {
                try plan.options.cancel.check(plan.options.operation)
                try empty(directory, &reader)
            } catch {
                plan.stack.stop()
                throw error
            }
        }
        let tally = tally
        plan.report.withLock { $0.add(tally) }
    }

    /// Removes the names of a directory that are no directories; the directory itself where none are left.
    private mutating func empty(_ index: UInt32, _ reader: inout DirectoryReader) throws(LayerError) {
        guard let directory = try open(index) else { return try goUp(from: index) }
        do throws(SystemCallError) {
            var state = plan.tables.states[Int(index)]
            state.listings += 1
            if state.listings > 1 { _ = try directory.descriptor.seek(0, .start) }
            // Only what lies deep is reached from below, see `parent`.
            if directories.records[Int(index)].depth >= TreeOpener.cacheSize {
                state.identity = FileIdentity(try directory.descriptor.metadata())
            }
            plan.tables.states[Int(index)] = state
        } catch { throw failure(error, index) }
        found.removeAll(keepingCapacity: true)
        reader.restart()
        while let entry = try next(&reader, directory, index) {
            if index == TreeDirectories.root, let kept = plan.options.keeps,
                bytes(reader.name(of: entry), equal: kept)
            {
                continue
            }
            if entry.kind != .directory, try unlink(reader.pointer(of: entry), reader.name(of: entry), directory, index)
            {
                continue
            }
            found.append(try plan.tables.add(reader.name(of: entry), in: index))
        }
        if found.isEmpty { return try remove(index) }
        try plan.tables.setCount(found.count, of: index)
        plan.stack.push(found)
    }

    private func next(_ reader: inout DirectoryReader, _ directory: SharedDescriptor, _ index: UInt32)
        throws(LayerError) -> DirectoryEntry?
    {
        do throws(SystemCallError) { return try reader.next(of: directory.descriptor) } catch {
            throw failure(error, index)
        }
    }

    /// Removes a name that should be no directory; false if it is one.
    private mutating func unlink(
        _ name: borrowing NamePointer, _ bytes: RawSpan, _ directory: SharedDescriptor, _ index: UInt32
    ) throws(LayerError) -> Bool {
        if tally.removals % Self.patience == Self.patience - 1 {
            try plan.options.cancel.check(plan.options.operation)
        }
        var mayChangeMode = RemovalPlan.mayChangeModes
        while true {
            do throws(SystemCallError) {
                let freed = plan.countsBytes ? try bytesFreed(by: name, directory) : 0
                try directory.descriptor.unlink(name)
                tally.removals += 1
                tally.freedBytes += freed
                return true
            } catch {
                switch error.errno {
                case ENOENT: return true
                // EISDIR: the directory did not say what its names are.
                case EISDIR: return false
                case EACCES where mayChangeMode:
                    mayChangeMode = false
                    try? directory.descriptor.setMode(0o700)
                default: throw failure(error, index, bytes.copied())
                }
            }
        }
    }

    /// Bytes of the file of which `name` is the last name.
    private func bytesFreed(by name: borrowing NamePointer, _ directory: SharedDescriptor) throws(SystemCallError)
        -> UInt64
    {
        guard let metadata = try directory.descriptor.metadataIfPresent(name), metadata.kind != .directory,
            metadata.linkCount == 1
        else { return 0 }
        return UInt64(max(metadata.size, 0))
    }

    /// Opens a directory; nil where it is gone, or has become something else, which then is removed.
    private mutating func open(_ index: UInt32) throws(LayerError) -> SharedDescriptor? {
        if index == TreeDirectories.root { return plan.root }
        let record = directories.records[Int(index)]
        let names = directories.names
        let problem: SystemCallError
        do throws(SystemCallError) {
            do throws(SystemCallError) { return try opener.handle(index) } catch {
                guard error.errno == EACCES, RemovalPlan.mayChangeModes else { throw error }
                let parent = try opener.handle(record.parent)
                let opened = SharedDescriptor(
                    try RemovalPlan.open(names.pointer(record.name), inside: parent.descriptor))
                opener.keep(index, opened)
                return opened
            }
        } catch { problem = error }
        switch problem.errno {
        case ENOENT: return nil
        case ENOTDIR, ELOOP:
            do throws(SystemCallError) {
                try opener.handle(record.parent).descriptor.unlink(names.pointer(record.name))
                tally.removals += 1
            } catch {
                if error.errno != ENOENT { throw failure(error, index) }
            }
            return nil
        default: throw failure(problem, index)
        }
    }

    // MARK: The way up

    /// Removes an emptied directory, and those above that thereby become empty.
    private mutating func remove(_ index: UInt32) throws(LayerError) {
        if index != TreeDirectories.root, try removeEmptied(index) { try goUp(from: index) }
    }

    /// Tells the directory above that this one is gone.
    private mutating func goUp(from index: UInt32) throws(LayerError) {
        var current = index
        while current != TreeDirectories.root {
            let above = directories.records[Int(current)].parent
            guard plan.tables.removedOne(of: above) else { return }
            if above == TreeDirectories.root { return }
            guard try removeEmptied(above) else { return }
            current = above
        }
    }

    /// Removes one directory; false where it must be listed again first.
    private mutating func removeEmptied(_ index: UInt32) throws(LayerError) -> Bool {
        let record = directories.records[Int(index)]
        let names = directories.names
        var mayChangeMode = RemovalPlan.mayChangeModes
        while true {
            do throws(SystemCallError) {
                let above = try parent(of: index)
                do throws(SystemCallError) {
                    try above.descriptor.removeDirectory(names.pointer(record.name))
                } catch {
                    guard error.errno == EACCES, mayChangeMode else { throw error }
                    mayChangeMode = false
                    try? above.descriptor.setMode(0o700)
                    continue
                }
                tally.removals += 1
                return true
            } catch {
                switch error.errno {
                case ENOENT: return true
                case ENOTEMPTY, EEXIST:
                    // Somebody put something in, or the directory skipped names while others were removed: once more.
                    guard plan.tables.states[Int(index)].listings < 2 else { throw failure(error, index) }
                    plan.stack.push(index)
                    return false
                default: throw failure(error, index)
                }
            }
        }
    }

    /// The open directory above. From deep below, it is opened as `..` of the one at hand, and believed only if it is
    /// the directory that was listed: paths to deep directories cost their whole length.
    private mutating func parent(of index: UInt32) throws(SystemCallError) -> SharedDescriptor {
        let above = directories.records[Int(index)].parent
        if let open = opener.cached(above) { return open }
        if directories.records[Int(above)].depth >= TreeOpener.cacheSize, let here = opener.cached(index) {
            let parent = SharedDescriptor(
                try here.descriptor.open(NamePointer(".."), [.readOnly, .directory, .noFollow]))
            if FileIdentity(try parent.descriptor.metadata()) == plan.tables.states[Int(above)].identity {
                opener.keep(above, parent)
                return parent
            }
        }
        return try opener.handle(above)
    }

    @inline(never)
    private func failure(_ error: SystemCallError, _ index: UInt32, _ name: [UInt8] = []) -> LayerError {
        let path = plan.path(index, name)
        // EXDEV, EBUSY: something is mounted there.
        if error.errno == EXDEV || error.errno == EBUSY { return TreeRemoval.mountPoint(path, plan.options.operation) }
        return LayerError(error, plan.options.operation, path: path)
    }
}
