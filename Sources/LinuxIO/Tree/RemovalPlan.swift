import Glibc
import LayerModel
import Synchronization

/// Everything the workers of one removal share.
final class RemovalPlan: Sendable {
    let options: TreeRemovalOptions
    let root: SharedDescriptor
    let tables: RemovalTables
    let stack = WorkStack()
    let countsBytes: Bool
    let report = Mutex(TreeRemovalReport())

    /// Whether directories are made accessible where they are not.
    static let mayChangeModes = ProcessState.effectiveUser != 0

    init(_ root: SharedDescriptor, _ options: TreeRemovalOptions, _ tables: RemovalTables, countsBytes: Bool) {
        self.root = root
        self.options = options
        self.tables = tables
        self.countsBytes = countsBytes
    }

    /// The path of a directory, and of a name in it; for messages.
    func path(_ directory: UInt32, _ name: [UInt8] = []) -> PathBytes {
        tables.directories.path(options.path ?? kernelPath(of: root.descriptor), directory, name)
    }

    /// Opens a directory that is to be emptied, and nothing beyond a mount (EXDEV).
    ///
    /// The owner may lack the permission to look into his directory. It is changed only after the kernel has found the
    /// way to it without crossing into a mount, of which not even the mode may be touched.
    static func open(_ name: borrowing NamePointer, in parent: borrowing OwnedDescriptor) throws(SystemCallError)
        -> OwnedDescriptor
    {
        do throws(SystemCallError) { return try openOnce(name, in: parent) } catch {
            guard error.errno == EACCES, mayChangeModes else { throw error }
        }
        try? parent.setMode(name, 0o700)
        return try openOnce(name, in: parent)
    }

    /// The same where the way in may be barred too: `parent`, which is open for reading, is part of the tree.
    static func open(_ name: borrowing NamePointer, inside parent: borrowing OwnedDescriptor) throws(SystemCallError)
        -> OwnedDescriptor
    {
        do throws(SystemCallError) { return try openOnce(name, in: parent) } catch {
            guard error.errno == EACCES, mayChangeModes else { throw error }
        }
        try? parent.setMode(0o700)
        return try open(name, in: parent)
    }

    private static func openOnce(_ name: borrowing NamePointer, in parent: borrowing OwnedDescriptor)
        throws(SystemCallError) -> OwnedDescriptor
    {
        try parent.open(name, [.readOnly, .directory, .noFollow], resolve: [.noSymlinks, .beneath, .noCrossing])
    }
}

/// The directories that a removal has met. Used again for the next one.
final class RemovalTables: Sendable {
    let directories: TreeDirectories
    /// Device, inode and state by directory.
    let states: StableArray<State>
    /// Subdirectories that are still there, by directory.
    private let counts: Monitor<StableArray<UInt32>>

    /// What is known of a directory; written by the one thread that is at it.
    struct State: BitwiseCopyable {
        /// Kept for those that are reached from below.
        var identity = FileIdentity(device: 0, inode: 0)
        /// How often it has been listed.
        var listings: UInt32 = 0
    }

    init() throws(LayerError) {
        directories = try TreeDirectories()
        states = try StableArray(limit: directories.records.limit)
        counts = Monitor(try StableArray(limit: directories.records.limit))
        try begin(TreeDirectories.root)
    }

    /// Forgets all directories but the root, which begins anew.
    func restart() throws(LayerError) {
        try directories.restart()
        try begin(TreeDirectories.root)
    }

    func add(_ name: RawSpan, in parent: UInt32) throws(LayerError) -> UInt32 {
        let index = try directories.add(name, in: parent)
        try begin(index)
        return index
    }

    private func begin(_ directory: UInt32) throws(LayerError) {
        try states.makeUsable(Int(directory) + 1)
        states[Int(directory)] = State()
    }

    /// Notes how many subdirectories a directory has that must go first.
    func setCount(_ count: Int, of directory: UInt32) throws(LayerError) {
        let outcome = counts.update { counts in
            let outcome = Result { () throws(LayerError) in
                try counts.makeUsable(Int(directory) + 1)
                counts[Int(directory)] = UInt32(count)
            }
            return (outcome, false)
        }
        try outcome.get()
    }

    /// Says that one subdirectory is gone; true if it was the last.
    func removedOne(of directory: UInt32) -> Bool {
        counts.update { counts in
            counts[Int(directory)] -= 1
            return (counts[Int(directory)] == 0, false)
        }
    }
}
