import LayerModel
import LayerRules
import LinuxIO
import TarCodec

/// An upper directory, with the lower ones where they are known: deletions are written in a dialect's form.
final class UpperTarget: UnpackTarget {
    let entries: EntryMaker
    /// The lower directories; nil when they are not known.
    let lowers: LowerView?
    let dialect: WhiteoutDialect
    let marks: UpperMarks
    private var writer: WhiteoutWriter
    /// What has to be looked at again once the lower directories are there; nil where they are, or will never be known.
    let notes: StagingNotes?

    init(_ entries: EntryMaker, _ share: DescriptorShare, notes: StagingNotes? = nil) throws(LayerError) {
        self.entries = entries
        self.notes = notes
        let options = entries.options
        // Nobody may write `trusted.` attributes in there, and its overlays are mounted with `userxattr`.
        dialect =
            entries.policy.isInUserNamespace && options.dialect == .overlay ? .overlayUserXattr : options.dialect
        writer = WhiteoutWriter(dialect)
        marks = UpperMarks(dialect, entries.tree)
        if let paths = options.lowers {
            lowers = try LowerView(paths, dialect: dialect, marks, mostOpen: share.total / 2)
        } else {
            lowers = nil
        }
    }

    private var hasMarkerFiles: Bool { dialect.opaque == .markerFile }

    // MARK: what lies under a name

    func isMark(_ name: NameRef) -> Bool {
        guard dialect.deletion.contains(.prefixedFile) else { return false }
        let arena = tree.arena
        return bytes(arena[name], startWith: WhiteoutName.prefix)
    }

    func isDeleted(_ place: NamePlace, found: EntryMetadata?) throws(LayerError) -> Bool {
        if let found { return found.isWhiteoutDevice }
        guard !tree.flags(ofDirectory: place.node).contains(.fresh) else { return false }
        let arena = tree.arena
        let handle = try entries.handle(place.node)
        return try attempt { () throws(SystemCallError) in try writer.isDeleted(arena[place.name], in: handle) }
    }

    /// What the lower directories show under a name.
    func lowerEntry(_ place: NamePlace) throws(LayerError) -> LowerEntry? {
        guard let lowers, !lowers.isEmpty, !isMark(place.name) else { return nil }
        let tree = tree
        return try attempt { () throws(SystemCallError) in try lowers.entry(place.name, in: place.node, tree) }
    }

    // MARK: deletions

    /// Where nothing is known of the lower directories, what is deleted may be in any of them.
    var creationForDeletions: Creation { lowers == nil ? .unlessDeleted : .none }
    static var vacancy: Vacancy { .showsLower }
    /// Nobody links into an upper directory; and a file of it may have its contents in a lower one.
    static var mayShareFiles: Bool { false }

    /// Whether a deletion has to be written: a whiteout that hides nothing is listed in the merged view as a name that is
    /// not there.
    private func needsDeletion(_ place: NamePlace) throws(LayerError) -> Bool {
        if tree.flags(place).contains(.whiteout) { return false }
        if lowers != nil { return try lowerEntry(place) != nil }
        return try !attempt { () throws(SystemCallError) in try marks.isBelowOpaque(place.node) }
    }

    func refuseLongDeletion(_ place: NamePlace) throws(LayerError) {
        let arena = tree.arena
        guard !writer.canDelete(arena[place.name]), try needsDeletion(place) else { return }
        throw LayerError(
            .limitExceeded, "apply", path: tree.path(of: place),
            cause: .archive(
                offset: log.entryOffset,
                reason:
                    "its deletion cannot be written: the name has \(place.name.length) bytes, and a .wh. file beside it "
                    + "would have more than 255"),
            hint: "unpack onto a whole tree (tree), or into an upper directory of overlay or fuse-overlayfs")
    }

    func writeDeletion(_ place: NamePlace, _ source: MarkSource) throws(LayerError) {
        guard try needsDeletion(place) else { return }
        notes?.deletions.append(place.record)
        switch source {
        case .deletion(let fields): try write(place, entries.values.mark(of: fields))
        case .other(let mark): try write(place, mark)
        }
    }

    private func write(_ place: NamePlace, _ mark: MarkMetadata) throws(LayerError) {
        try entries.inspect(place.node)
        let handle = try entries.handle(place.node)
        let arena = tree.arena
        let handsDown = tree.flags(ofDirectory: place.node).contains(.givesAccessLists)
        log.report.io.creates += 1
        try attempt { () throws(SystemCallError) in
            try writer.writeDeletion(place.name, in: handle, arena, mark, handsDown: handsDown)
        }
        tree.delete(place)
    }

    func removeDeletion(_ place: NamePlace) throws(LayerError) {
        let handle = try entries.handle(place.node)
        let arena = tree.arena
        try attempt { () throws(SystemCallError) in try writer.removeDeletion(arena[place.name], in: handle) }
        tree.clear(place)
    }

    func makeOpaque(_ node: UInt32) throws(LayerError) {
        // The bottom layer has nothing to hide, and a mark would be seen.
        guard !tree.flags(ofDirectory: node).contains(.opaque), lowers?.isEmpty != true else { return }
        tree.makeOpaque(node)
        lowers?.forget()
        try entries.inspect(node)
        let handle = try entries.handle(node)
        let handsDown = tree.flags(ofDirectory: node).contains(.givesAccessLists)
        log.report.io.attributeCalls += 1
        try attempt { () throws(SystemCallError) in
            let directory = try handle.descriptor.open(NamePointer("."), [.readOnly, .directory])
            try writer.markOpaque(directory, handsDown: handsDown)
        }
    }

    func makeOpaque(_ node: UInt32, asSaidBy fields: TarFields) throws(LayerError) {
        if node == ApplyTree.rootNode, !hasMarkerFiles {
            try makeRootOpaque()
        } else {
            try makeOpaque(node)
        }
        // The file that marks a directory gets what its entry says of it.
        guard hasMarkerFiles else { return }
        let (handle, mark) = (try entries.handle(node), try entries.values.mark(of: fields))
        try attempt { () throws(SystemCallError) in try writer.dressOpaque(handle.descriptor, mark) }
    }

    /// overlayfs always merges the roots of layers, so a root is made opaque name by name.
    private func makeRootOpaque() throws(LayerError) {
        let root = ApplyTree.rootNode
        guard let lowers else {
            if let notes {
                notes.mustBeRedone = true
                return
            }
            log.warn("the layer hides all layers below it: its root is marked, but overlayfs looks at no such mark")
            return try makeOpaque(root)
        }
        let tree = tree
        let shown = try attempt { () throws(SystemCallError) in try lowers.names(in: root, tree) }
        let owner = entries.values.root
        var position = 0
        while position < shown.count {
            var end = position
            while shown[end] != 0 { end += 1 }
            let place = try tree.place(of: shown.rawBytes.extracting(position..<end), in: root)
            position = end + 1
            let kind = try kind(of: place)
            if kind == .directory {
                if let child = tree.directory(place) { try makeOpaque(child) }
            } else if kind == .unknown, tree.flags(place).isDisjoint(with: [.whiteout, .deferred]),
                try lowerEntry(place) != nil
            {
                try write(place, MarkMetadata(uid: owner.uid, gid: owner.gid))
            }
        }
        lowers.isRootHidden = true
        lowers.forget()
        tree.makeOpaque(root)
    }

    /// The directory becomes opaque anyway, and aufs's bookkeeping at the top is not the layer's.
    func outlivesOpaque(_ name: RawSpan) -> Bool {
        dialect.recognises.contains(.markerFile) && bytes(name, startWith: WhiteoutName.metaPrefix)
    }

    func removeEarlierMark(_ place: NamePlace, _ found: EntryMetadata) throws(LayerError) -> Bool {
        let isMarkName = isMark(place.name)
        guard isMarkName || found.isWhiteoutDevice else { return false }
        if found.isWhiteoutDevice, place.node == ApplyTree.rootNode, !hasMarkerFiles {
            // The root cannot be marked, so that its deletions are what hides the lower layers.
            tree.look(at: place, found: .unknown, isDeleted: true)
            return true
        }
        let handle = try entries.handle(place.node)
        let arena = tree.arena
        try attempt { () throws(SystemCallError) in try handle.descriptor.unlink(arena.pointer(place.name)) }
        tree.clear(place)
        if isMarkName,
            let deleted = tree.knownPlace(
                of: arena[place.name].extracting(WhiteoutName.prefix.utf8CodeUnitCount...), in: place.node),
            tree.flags(deleted).contains(.whiteout)
        {
            tree.clear(deleted)
        }
        return true
    }

    var presentMarks: UInt64 {
        guard hasMarkerFiles else { return 0 }
        var count: UInt64 = 0
        for index in 0..<tree.nodes.count {
            let flags = tree.nodes[index].flags
            if flags.contains(.opaque), !flags.contains(.removed) { count += 1 }
        }
        return count
    }
}
