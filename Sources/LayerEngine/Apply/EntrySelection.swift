import LayerModel
import LayerRules
import TarCodec

/// Which entries of a layer are carried out, where a filter says so; in the archive's order.
struct EntrySelection {
    private let filter: LayerFilter
    private let isLenient: Bool
    private var name = ArchiveName()
    /// What the callback left out, but deletions: what lies below a directory goes with it, and no link may lead there.
    private var left: Set<[UInt8]> = []

    /// Nil where all entries count.
    init?(_ options: ApplyOptions) {
        guard let filter = options.filter, !filter.isEmpty else { return nil }
        self.filter = filter
        isLenient = options.lenientNames
    }

    /// Whether an entry counts. One whose name cannot be used does: it is for others to refuse.
    ///
    /// Throws for a link that counts, and leads to a file that does not: its contents have gone by.
    mutating func takes(_ entry: borrowing TarDecoder, _ log: ApplyLog) throws(LayerError) -> Bool {
        guard clean(entry.name), !name.isRoot, !ArchiveName.isBookkeeping(name.bytes.rawBytes) else { return true }
        let type = entry.fields.type
        var path = name.bytes
        var kind = LayerEntry.Kind(type)
        let isMarkDevice =
            type == TarType.character && entry.fields.deviceMajor == 0 && entry.fields.deviceMinor == 0
        switch WhiteoutName(name.base) {
        case .opaque:
            // Goes with its directory, the root's always.
            let directory = name.directory.copied()
            return directory.isEmpty || takes(directory, mayLead: true) && !left.contains(directory)
        case .deletion(let offset):
            path = name.directory.copied() + (name.directory.isEmpty ? [] : [UInt8(ascii: "/")])
            path += name.base.extracting(offset..<name.base.byteCount).copied()
            kind = .deletion
        case .ordinary where isMarkDevice: kind = .deletion
        case .ordinary, .invalid: break
        }
        guard takes(path, mayLead: kind == .directory || kind == .deletion) else { return false }
        guard isAdmitted(entry, path, kind) else { return false }
        if kind == .hardLink { try checkTarget(of: entry, log) }
        if kind != .deletion, filter.names(path.rawBytes) { log.report.chosenEntries += 1 }
        return true
    }

    private mutating func clean(_ text: RawSpan) -> Bool {
        do throws(ArchiveName.Problem) {
            try name.clean(text, lenient: isLenient)
            return true
        } catch { return false }
    }

    /// Whether the patterns let a path pass, and the callback has not left out a directory above it.
    private func takes(_ path: [UInt8], mayLead: Bool) -> Bool {
        guard filter.passes(path.rawBytes, mayLead: mayLead) else { return false }
        guard !left.isEmpty else { return true }
        for end in path.indices where path[end] == UInt8(ascii: "/") && left.contains(Array(path[..<end])) {
            return false
        }
        return true
    }

    private mutating func isAdmitted(_ entry: borrowing TarDecoder, _ path: [UInt8], _ kind: LayerEntry.Kind) -> Bool {
        guard let admits = filter.admits else { return true }
        let fields = entry.fields
        let isDeletion = kind == .deletion
        let takes = admits(
            LayerEntry(
                PathBytes(path), kind, size: kind == .file ? max(fields.size, 0) : 0,
                mode: isDeletion ? 0 : fields.mode & 0o7777, uid: isDeletion ? 0 : UInt32(clamping: fields.uid),
                gid: isDeletion ? 0 : UInt32(clamping: fields.gid)))
        if isDeletion { return takes }
        // A later entry of the same name stands for itself.
        if takes { left.remove(path) } else { left.insert(path) }
        return takes
    }

    private mutating func checkTarget(of entry: borrowing TarDecoder, _ log: ApplyLog) throws(LayerError) {
        guard clean(entry.linkName), !name.isRoot, !ArchiveName.isBookkeeping(name.bytes.rawBytes) else { return }
        let target = name.bytes
        guard !takes(target, mayLead: false) || left.contains(target) else { return }
        var error = log.refusal(
            .invalidArgument, "the file that it is a further name of, \(PathBytes(target)), is left out by the filter")
        error.hint = "let \(PathBytes(target)) pass, or leave out both"
        throw error
    }
}

extension LayerEntry.Kind {
    fileprivate init(_ type: UInt8) {
        switch type {
        case TarType.directory: self = .directory
        case TarType.symbolicLink: self = .symbolicLink
        case TarType.hardLink: self = .hardLink
        case TarType.character, TarType.block, TarType.fifo: self = .special
        default: self = .file
        }
    }
}
