import LayerModel
import LinuxIO

/// Removes whole directories without recursion, with few descriptors and in time linear in what is removed (V25).
///
/// Each directory is read once: what is no directory goes at once, names of subdirectories are stacked. Beneath the
/// first levels only the current directory is open; the way back is `..`, believed only if it leads to the
/// directory that was left.
struct TreeRemover: ~Copyable {
    private struct Level {
        var handle: DirectoryHandle?
        var inode: UInt64
        var device: UInt64
        /// Where the names of this directory's subdirectories begin on the stack.
        var firstName: Int
    }

    private var reader = DirectoryReader()
    private var levels: [Level] = []
    private var names: [UInt8] = []
    /// Bytes of the files removed that had no other name; counted only when asked.
    private(set) var removedBytes: UInt64 = 0
    private(set) var removals: UInt64 = 0

    /// Levels whose descriptors stay open.
    private static let openLevels = 64

    init() {}

    /// Removes the directory `name` of `parent` and everything in it.
    mutating func remove(_ name: borrowing NamePointer, in parent: borrowing OwnedDescriptor, countBytes: Bool)
        throws(SystemCallError)
    {
        removedBytes = 0
        levels.removeAll(keepingCapacity: true)
        names.removeAll(keepingCapacity: true)
        removals += 1
        do throws(SystemCallError) {
            try parent.removeDirectory(name)
            return
        } catch {
            guard error.errno == 39 || error.errno == 17 else { throw error }
        }
        try enter(name, of: parent, countBytes: countBytes)
        while let level = levels.last, let handle = level.handle {
            if names.count > level.firstName {
                // The last name on the stack; it is popped when its directory is gone.
                let child = lastName()
                try enter(NamePointer(terminated: child.rawBytes), of: handle.descriptor, countBytes: countBytes)
            } else if levels.count == 1 {
                try parent.removeDirectory(name)
                levels.removeLast()
            } else {
                try leave(handle)
            }
        }
    }

    /// Opens a directory, empties it of all but directories, and stacks the names of those.
    private mutating func enter(_ name: borrowing NamePointer, of parent: borrowing OwnedDescriptor, countBytes: Bool)
        throws(SystemCallError)
    {
        let handle = DirectoryHandle(try parent.open(name, [.readOnly, .directory, .noFollow]))
        let metadata = try handle.descriptor.metadata()
        if levels.count >= Self.openLevels { levels[levels.count - 1].handle = nil }
        levels.append(
            Level(handle: handle, inode: metadata.inode, device: metadata.device, firstName: names.count))
        reader.restart()
        while let entry = try reader.next(of: handle.descriptor) {
            let child = reader.name(of: entry).copied() + [0]
            if entry.kind != .directory, try unlink(child, in: handle, countBytes: countBytes) { continue }
            // Length last, so that the stack can be read from its end.
            names.append(contentsOf: child)
            names.append(UInt8(child.count - 1))
        }
    }

    /// Removes a name that should be no directory; false if it is one.
    private mutating func unlink(_ name: [UInt8], in handle: DirectoryHandle, countBytes: Bool)
        throws(SystemCallError) -> Bool
    {
        let pointer = NamePointer(terminated: name.rawBytes)
        if countBytes, let metadata = try handle.descriptor.metadataIfPresent(pointer),
            metadata.kind != .directory, metadata.linkCount == 1
        {
            removedBytes += UInt64(max(metadata.size, 0))
        }
        removals += 1
        do throws(SystemCallError) {
            try handle.descriptor.unlink(pointer)
        } catch {
            if error.errno == 2 { return true }
            if error.errno == 21 { return false }
            throw error
        }
        return true
    }

    /// The name on top of the stack, NUL-terminated.
    private func lastName() -> [UInt8] {
        let count = Int(names[names.count - 1]) + 1
        return Array(names[names.count - 1 - count..<names.count - 1])
    }

    /// Goes back to the parent of the emptied current directory and removes it there.
    private mutating func leave(_ handle: DirectoryHandle) throws(SystemCallError) {
        levels.removeLast()
        let last = levels.count - 1
        if levels[last].handle == nil {
            let parent = DirectoryHandle(
                try handle.descriptor.open(NamePointer(".."), [.readOnly, .directory, .noFollow]))
            let metadata = try parent.descriptor.metadata()
            // ESTALE: somebody moved the directory while it was being emptied.
            guard metadata.inode == levels[last].inode, metadata.device == levels[last].device else {
                throw SystemCallError("openat", errno: 116)
            }
            levels[last].handle = parent
        }
        let name = lastName()
        names.removeLast(name.count + 1)
        removals += 1
        guard let parent = levels[last].handle else { return }
        try parent.descriptor.removeDirectory(NamePointer(terminated: name.rawBytes))
    }
}
