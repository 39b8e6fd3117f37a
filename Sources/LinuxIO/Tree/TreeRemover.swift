import Glibc
public import LayerModel
import Synchronization

/// Removes one tree after the other, as `TreeRemoval` says, with memory that is used again: for those who remove many
/// small ones. With one worker everything is done on the caller's thread.
public struct TreeRemover: ~Copyable {
    private let options: TreeRemovalOptions
    private var tables: RemovalTables?
    private var reader = DirectoryReader()
    private var watch: MountWatch?

    public init(options: TreeRemovalOptions) { self.options = options }

    /// Says that all trees lie below `directory`, so that the mount table is read once and not for each of them.
    public mutating func watchMounts(below directory: borrowing OwnedDescriptor) {
        watch = MountWatch(below: directory)
    }

    /// The mount point, below the watched `directory`, that `tree` lies at or below; nil where it is on the mount of
    /// `directory`, and so may be removed from.
    public mutating func mountPoint(
        holding tree: borrowing OwnedDescriptor, apartFrom directory: borrowing OwnedDescriptor
    ) -> PathBytes? {
        watch?.mountPoint(holding: tree, apartFrom: directory) ?? nil
    }

    /// Removes `name` of `parent`, whatever it is, and everything below it; one that does not exist is fine.
    public mutating func remove(
        _ name: borrowing NamePointer, in parent: borrowing OwnedDescriptor, countsBytes: Bool = false
    ) throws(LayerError) -> TreeRemovalReport {
        var report = TreeRemovalReport()
        var mayRepeat = true
        while true {
            guard let directory = try open(name, in: parent, &report) else { return report }
            report.add(try empty(directory, countsBytes))
            do throws(SystemCallError) {
                try parent.removeDirectory(name)
                report.removals += 1
                return report
            } catch {
                if error.errno == ENOENT { return report }
                // ENOTEMPTY, EEXIST: somebody put something in.
                guard mayRepeat, error.errno == ENOTEMPTY || error.errno == EEXIST else {
                    throw failure(error, name, parent)
                }
                mayRepeat = false
            }
        }
    }

    /// Removes everything in `directory` but what the options keep.
    public mutating func removeContents(
        of directory: borrowing OwnedDescriptor, countsBytes: Bool = false
    ) throws(LayerError) -> TreeRemovalReport {
        let opened: SharedDescriptor
        do throws(SystemCallError) {
            opened = SharedDescriptor(try directory.open(NamePointer("."), [.readOnly, .directory]))
        } catch { throw LayerError(error, options.operation, path: options.path) }
        return try empty(opened, countsBytes)
    }

    /// Opens the directory to remove; nil where there is none, and where it was no directory and is removed now.
    private func open(
        _ name: borrowing NamePointer, in parent: borrowing OwnedDescriptor, _ report: inout TreeRemovalReport
    ) throws(LayerError) -> SharedDescriptor? {
        do throws(SystemCallError) {
            return SharedDescriptor(try RemovalPlan.open(name, in: parent))
        } catch {
            switch error.errno {
            case ENOENT: return nil
            case ENOTDIR, ELOOP: break
            default: throw failure(error, name, parent)
            }
        }
        do throws(SystemCallError) {
            try parent.unlink(name)
            report.removals += 1
        } catch {
            if error.errno != ENOENT { throw failure(error, name, parent) }
        }
        return nil
    }

    /// Empties a directory, on several threads if there are to be several.
    private mutating func empty(_ root: SharedDescriptor, _ countsBytes: Bool) throws(LayerError) -> TreeRemovalReport {
        try options.cancel.check(options.operation)
        if let point = mountPoint(below: root.descriptor) { throw TreeRemoval.mountPoint(point, options.operation) }
        let tables = try emptyTables()
        let plan = RemovalPlan(root, options, tables, countsBytes: countsBytes)
        plan.stack.push(TreeDirectories.root)
        let count = options.workers ?? min(4, WorkerPool.availableCores)
        if count == 1 {
            var worker = DirectoryRemover(plan)
            try worker.run(&reader)
        } else {
            try WorkerPool(count: count).run(cancel: CancelFlag()) { () throws(LayerError) in
                var worker = DirectoryRemover(plan)
                var reader = DirectoryReader()
                try worker.run(&reader)
            }
        }
        try options.cancel.check(options.operation)
        return plan.report.withLock { $0 }
    }

    private mutating func emptyTables() throws(LayerError) -> RemovalTables {
        if let tables {
            try tables.restart()
            return tables
        }
        let tables = try RemovalTables()
        self.tables = tables
        return tables
    }

    private mutating func mountPoint(below root: borrowing OwnedDescriptor) -> PathBytes? {
        guard watch == nil else { return watch?.mountPoint(below: root) ?? nil }
        var once = MountWatch(below: root)
        return once.mountPoint(below: root)
    }

    @inline(never)
    private func failure(_ error: SystemCallError, _ name: borrowing NamePointer, _ parent: borrowing OwnedDescriptor)
        -> LayerError
    {
        let path = options.path ?? kernelPath(of: parent)?.appending(PathBytes(name.copied()))
        // EXDEV, EBUSY: something is mounted there.
        if error.errno == EXDEV || error.errno == EBUSY { return TreeRemoval.mountPoint(path, options.operation) }
        return LayerError(error, options.operation, path: path)
    }
}
