import LayerModel
import LinuxIO

/// When the contents of two regular files are read to find out whether they are equal.
///
/// Times of files move on only every few milliseconds, and archives carry whole seconds: a file that was rewritten at
/// its old size may look untouched.
///
/// One file seen through two mounts, or in a clone and its origin, has one inode number and one time of change on both
/// sides. It is not read, but with `always`: the evidence is blind to a file that was made, cloned and rewritten within
/// one tick.
public enum ContentComparison: Sendable {
    /// Never: metadata decide, as in Docker's lists.
    case never
    /// Where sizes and seconds agree and either side has no nanoseconds.
    case coarseTimes
    /// Wherever all metadata agree but for that evidence: cheap for two mounted trees that share their files.
    case changedInodes
    /// As `changedInodes`, for a file system whose times are coarse: a time of change at or after this second is no
    /// evidence. It is the second in which the origin of a clone was taken.
    case changedInodesOrSince(Int64)
    /// Wherever all metadata agree. Reads every file of two separate trees; for an upper directory, only what was
    /// copied up without being changed.
    case always
}

extension EqualityRule {
    /// Whether contents decide between two inodes of which all metadata agree, as far as the rule looks at them.
    /// `truncated`: the rule left nanoseconds out.
    func contentDecides(_ old: EntryMetadata, _ new: EntryMetadata, truncated: Bool) -> Bool {
        guard new.kind == .regular, new.size > 0 else { return false }
        if times == .bothTruncatedContent, truncated { return true }
        let isOneFile =
            old.inode == new.inode && old.ctimeSeconds == new.ctimeSeconds
            && old.ctimeNanoseconds == new.ctimeNanoseconds
        switch contents {
        case .never: return false
        case .coarseTimes: return truncated && !isOneFile
        case .changedInodes: return !isOneFile
        case .changedInodesOrSince(let second): return !isOneFile || new.ctimeSeconds >= second
        case .always: return true
        }
    }
}

extension WalkWorker {
    /// Whether two files of which all metadata agree hold the same bytes. A copy that holds only metadata is followed
    /// to its data.
    mutating func haveEqualContents(
        _ oldFile: EntryMetadata, _ newFile: EntryMetadata, _ oldParent: UInt32, _ newParent: UInt32, _ name: NameRef,
        _ directory: UInt32
    ) throws(LayerError) -> Bool {
        let record = store.directories[Int(directory)]
        let old = try openContents(SeenFile(oldFile), name, oldParent, record.base, directory)
        let new = try openContents(SeenFile(newFile), name, newParent, record.rest, directory)
        do throws(SystemCallError) { return try comparer.equalContents(old, new) } catch {
            throw failure(error, "compare", directory, name)
        }
    }

    /// Opens the file that holds the data of `name` in the physical directory `parent`, over `stack`.
    private mutating func openContents(
        _ seen: SeenFile, _ name: NameRef, _ parent: UInt32, _ stack: StackRange, _ directory: UInt32
    ) throws(LayerError) -> OwnedDescriptor {
        let file = try open(seen, name, parent, directory)
        guard readsMarks else { return file }
        let marks = try readMarks(ofFile: file, name, directory)
        guard marks.metacopy else { return file }
        guard let data = try dataFile(of: name, origin: parent, in: stack, marks.redirect, directory) else {
            throw LayerError(
                .notFound, "find the data of", path: path(directory, name),
                cause: .reason("the file holds metadata only (metacopy), and no lower directory has its data"))
        }
        return data
    }

    /// Opens a file of a known place, and nothing else that may have come there.
    mutating func open(_ seen: SeenFile, _ name: NameRef, _ parent: UInt32, _ directory: UInt32) throws(LayerError)
        -> OwnedDescriptor
    {
        tally.io.opens += 1
        tally.io.stats += 1
        let names = names
        do throws(SystemCallError) {
            let place = try opener.handle(parent)
            if case .same(let file, _) = try seen.open(names.pointer(name), in: place.descriptor) { return file }
        } catch { throw failure(error, "read", directory, name) }
        throw LayerError(
            .fileChanged, "read", path: path(directory, name),
            cause: .reason("it was replaced, or vanished, while the tree was read"),
            hint: "read a tree that nothing writes to, or a snapshot of it")
    }
}
