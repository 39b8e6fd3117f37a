import LayerModel
import LinuxIO

/// What a filter leaves out: it is as if it had not changed, and nothing below it is looked at.
extension WalkWorker {
    /// Whether the patterns let a name of a directory pass. `kind` is what it is, `.unknown` for a deletion.
    mutating func passes(_ name: NameRef, _ kind: EntryKind, in directory: UInt32) -> Bool {
        guard plan.isFiltered else { return true }
        return passesPatterns(name, kind, directory)
    }

    /// The same with the callback, for what is to be recorded. Metadata stand in `entry`.
    mutating func admits(_ entry: EntryRecord, in directory: UInt32) -> Bool {
        guard plan.isFiltered else { return true }
        let isDeletion = entry.change == .deleted || entry.flags.contains(.whiteout)
        return passesPatterns(entry.name, isDeletion ? .unknown : entry.kind, directory)
            && isAdmitted(entry, isDeletion, directory)
    }

    /// The same of what is only counted.
    mutating func admits(_ metadata: EntryMetadata, called name: NameRef, in directory: UInt32) -> Bool {
        guard plan.isFiltered else { return true }
        var entry = EntryRecord(name: name)
        entry.take(metadata)
        if metadata.isWhiteoutDevice, plan.dialect.recognises.contains(.device) { entry.flags.insert(.whiteout) }
        return admits(entry, in: directory)
    }

    @inline(never)
    private mutating func passesPatterns(_ name: NameRef, _ kind: EntryKind, _ directory: UInt32) -> Bool {
        guard let filter = plan.filter, fillFilterPath(name, directory) else { return true }
        return filter.passes(filterPath.rawBytes, mayLead: kind == .directory || kind == .unknown || isMarker(name))
    }

    @inline(never)
    private mutating func isAdmitted(_ entry: EntryRecord, _ isDeletion: Bool, _ directory: UInt32) -> Bool {
        guard let admits = plan.filter?.admits, fillFilterPath(entry.name, directory) else { return true }
        let path = PathBytes(filterPath)
        if isDeletion || isMarker(entry.name) { return admits(LayerEntry(path, .deletion)) }
        let kind: LayerEntry.Kind =
            switch entry.kind {
            case .regular: .file
            case .directory: .directory
            case .symbolicLink: .symbolicLink
            default: .special
            }
        return admits(
            LayerEntry(
                path, kind, size: kind == .file ? entry.size : 0, mode: entry.mode & 0o7777, uid: entry.uid,
                gid: entry.gid))
    }

    /// Puts the path that a name stands for into `filterPath`; false for the mark of the directory itself, which goes with it.
    private mutating func fillFilterPath(_ name: NameRef, _ directory: UInt32) -> Bool {
        if directory != filterDirectory {
            filterPath.removeAll(keepingCapacity: true)
            store.appendPath(of: directory, to: &filterPath)
            filterDirectory = directory
            filterPrefix = filterPath.count
        }
        filterPath.removeLast(filterPath.count - filterPrefix)
        let names = names
        let text = names[name]
        var start = 0
        if plan.dialect.recognises.contains(.prefixedFile) {
            switch WhiteoutName(text) {
            case .opaque: return false
            case .deletion(let offset): start = offset
            case .ordinary, .invalid: break
            }
        }
        for index in start..<text.byteCount { filterPath.append(text[index]) }
        return true
    }
}
