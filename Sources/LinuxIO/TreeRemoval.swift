public import LayerModel

/// Empties a directory that this process filled, without recursion and with three descriptors, however deep it is.
public enum TreeRemoval {
    /// What a fresh ext file system has in its root. It does not count, and stays.
    private static let recovery = Array("lost+found".utf8)

    /// Whether nothing is in `directory`.
    public static func isEmpty(_ directory: borrowing OwnedDescriptor) throws(SystemCallError) -> Bool {
        var reader = DirectoryReader()
        let again = try directory.open(NamePointer("."), [.readOnly, .directory])
        while let entry = try reader.next(of: again) {
            if reader.name(of: entry).copied() != recovery { return false }
        }
        return true
    }

    /// Removes everything in `directory`.
    ///
    /// A directory's subdirectories that are not empty move up to the top first, so that one level is enough. Throws
    /// when a name cannot be removed, a mount point for instance.
    public static func removeContents(of directory: borrowing OwnedDescriptor) throws(SystemCallError) {
        while true {
            let names = try list(directory).filter { $0.name != recovery }
            if names.isEmpty { return }
            for entry in names {
                try remove(entry, in: directory, top: directory)
            }
        }
    }

    private struct Entry {
        var name: [UInt8]
        var isDirectory: Bool
    }

    private static func list(_ directory: borrowing OwnedDescriptor) throws(SystemCallError) -> [Entry] {
        var reader = DirectoryReader()
        var entries: [Entry] = []
        let again = try directory.open(NamePointer("."), [.readOnly, .directory])
        while let entry = try reader.next(of: again) {
            let name = reader.name(of: entry).copied()
            var kind = entry.kind
            if kind == .unknown {
                kind = try PathBytes(name).withName { (name) throws(SystemCallError) in
                    try directory.metadata(name).kind
                }
            }
            entries.append(Entry(name: name, isDirectory: kind == .directory))
        }
        return entries
    }

    private static func remove(
        _ entry: Entry, in directory: borrowing OwnedDescriptor, top: borrowing OwnedDescriptor
    ) throws(SystemCallError) {
        guard entry.isDirectory else {
            var name = entry.name
            name.append(0)
            try directory.unlink(NamePointer(terminated: name.rawBytes))
            return
        }
        var name = entry.name
        name.append(0)
        let pointer = NamePointer(terminated: name.rawBytes)
        // The owner may lack the permissions to change it; as root this changes nothing that matters.
        try? directory.setMode(pointer, 0o700)
        let opened = try directory.open(pointer, [.readOnly, .directory, .noFollow])
        for child in try list(opened) {
            try removeOrLift(child, in: opened, top: top)
        }
        try directory.removeDirectory(pointer)
    }

    private static func removeOrLift(
        _ entry: Entry, in directory: borrowing OwnedDescriptor, top: borrowing OwnedDescriptor
    ) throws(SystemCallError) {
        var name = entry.name
        name.append(0)
        let pointer = NamePointer(terminated: name.rawBytes)
        guard entry.isDirectory else { return try directory.unlink(pointer) }
        do throws(SystemCallError) {
            try directory.removeDirectory(pointer)
        } catch {
            // ENOTEMPTY, EEXIST: what rmdir says of a directory that holds something.
            guard error.errno == 39 || error.errno == 17 else { throw error }
            try? directory.setMode(pointer, 0o700)
            var lifted = Array(".ldiff-\(String(UInt64.random(in: .min ... .max), radix: 16))".utf8)
            lifted.append(0)
            try directory.rename(pointer, to: NamePointer(terminated: lifted.rawBytes), in: top, exclusive: true)
        }
    }
}
