import LayerModel
import LayerRules
import LinuxIO
import TarCodec

/// What is left under a name once what lay there is gone.
enum Vacancy {
    case free
    /// Lower directories would show through a directory put there, but must not: this layer had a whiteout or another kind of
    /// thing under the name.
    case showsLower
}

/// What says of whom a mark is, and of when.
enum MarkSource {
    /// The entry of the deletion itself.
    case deletion(TarFields)
    /// The entry of something else, in whose place the mark lies.
    case other(MarkMetadata)
}

/// Where a layer is unpacked. There are two kinds: a whole tree, from which deletions delete, and an upper directory, in which
/// they are written as marks and through which lower directories show.
///
/// The kinds say what differs; what they do alike is written once, in extensions. The kind is chosen once an apply; what
/// an entry does is specialised for it (`ApplyJob.carryOutHeader`).
protocol UnpackTarget: AnyObject {
    var entries: EntryMaker { get }

    // What lies under a name.

    /// Whether a name is one of the target's marks, and can be nothing else.
    func isMark(_ name: NameRef) -> Bool
    /// Whether what was found under a name, or not, is a deletion.
    func isDeleted(_ place: NamePlace, found: EntryMetadata?) throws(LayerError) -> Bool
    /// Where the lower directories lead under a name that the target itself does not have; a directory is copied up.
    func stepThroughLower(_ place: NamePlace) throws(LayerError) -> PathStep
    /// A directory was made in a path where `stepThroughLower` led to nothing.
    func noteImplied(_ child: UInt32)
    /// Copies up what the lower directories have under a name, for a hard link to it; true if they have something.
    func copyUpLinkTarget(_ place: NamePlace) throws(LayerError) -> Bool

    // Deletions.

    /// Which directories are made on the way to a deletion.
    var creationForDeletions: Creation { get }
    /// What is left where something was removed, or a link was to come.
    static var vacancy: Vacancy { get }
    /// Whether files that were there before the layer may have names in other trees, which nothing it says may change.
    static var mayShareFiles: Bool { get }
    /// Refuses a deletion for which there is no form, before anything is done for it.
    func refuseLongDeletion(_ place: NamePlace) throws(LayerError)
    /// Notes a deletion of a name that is free now.
    func writeDeletion(_ place: NamePlace, _ source: MarkSource) throws(LayerError)
    /// Takes back a deletion that was written under a name.
    func removeDeletion(_ place: NamePlace) throws(LayerError)
    /// Notes that nothing of the lower directories shows in a directory.
    func makeOpaque(_ node: UInt32) throws(LayerError)
    /// The same where an entry says so, of any directory.
    func makeOpaque(_ node: UInt32, asSaidBy fields: TarFields) throws(LayerError)
    /// Whether a name of an earlier layer in a directory that becomes opaque is none that is removed.
    func outlivesOpaque(_ name: RawSpan) -> Bool
    /// Deals with a mark of an earlier layer in a directory that becomes opaque; false if what was found is none.
    func removeEarlierMark(_ place: NamePlace, _ found: EntryMetadata) throws(LayerError) -> Bool
    /// Files that are marks of directories.
    var presentMarks: UInt64 { get }
}

extension UnpackTarget {
    var tree: ApplyTree { entries.tree }
    var files: FileQueue { entries.files }
    var log: ApplyLog { entries.log }
    var options: ApplyOptions { entries.options }

    /// What lies on disk under a name; `.unknown` for nothing (or a whiteout of this layer).
    func kind(of place: NamePlace) throws(LayerError) -> EntryKind {
        if tree.flags(place).contains(.known) { return tree.kind(place) }
        if isMark(place.name) { return .unknown }
        let metadata = try entries.metadata(place)
        let isDeleted = try isDeleted(place, found: metadata)
        tree.look(at: place, found: metadata?.kind ?? .unknown, isDeleted: isDeleted)
        return tree.kind(place)
    }

    /// Removes whatever lies under a name.
    @discardableResult
    func clear(_ place: NamePlace) throws(LayerError) -> Vacancy {
        let kind = try kind(of: place)
        let flags = tree.flags(place)
        if flags.contains(.whiteout) { try removeDeletion(place) }
        switch kind {
        case .unknown:
            tree.clear(place)
            if flags.contains(.whiteout) { return .showsLower }
            return flags.contains(.deferred) ? Self.vacancy : .free
        case .directory: try entries.removeDirectory(place)
        default: try entries.removeName(place)
        }
        // Whatever it was, it hid what lower directories have under the name.
        return Self.vacancy
    }

    /// Makes room under a name for something of the layer's. Refuses a name that the target would take for a mark.
    @discardableResult
    func vacate(_ place: NamePlace) throws(LayerError) -> Vacancy {
        // In a directory that is new itself nearly every name is.
        let isNew = tree.flags(place).rawValue == NameFlags.known.rawValue && tree.kind(place) == .unknown
        let vacancy = isNew ? .free : try clear(place)
        guard isMark(place.name) else { return vacancy }
        throw LayerError(
            .unsupported, "apply",
            cause: .archive(
                offset: log.entryOffset,
                reason: "the target's kind of whiteouts cannot hold a name that begins with .wh."))
    }
}
