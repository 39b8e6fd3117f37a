import LayerModel
import LayerRules
import LinuxIO
import TarCodec

/// A whole tree: what a layer deletes is removed, and nothing shows through it.
final class TreeTarget: UnpackTarget {
    let entries: EntryMaker

    init(_ entries: EntryMaker) { self.entries = entries }

    func isMark(_ name: NameRef) -> Bool { false }
    func isDeleted(_ place: NamePlace, found: EntryMetadata?) -> Bool { false }
    func stepThroughLower(_ place: NamePlace) -> PathStep { .missing }
    func noteImplied(_ child: UInt32) {}
    func copyUpLinkTarget(_ place: NamePlace) -> Bool { false }

    var creationForDeletions: Creation { .none }
    static var vacancy: Vacancy { .free }
    static var mayShareFiles: Bool { true }
    func refuseLongDeletion(_ place: NamePlace) {}
    func writeDeletion(_ place: NamePlace, _ source: MarkSource) {}
    func removeDeletion(_ place: NamePlace) { preconditionFailure("a whole tree has no marks") }
    func makeOpaque(_ node: UInt32) {}
    func makeOpaque(_ node: UInt32, asSaidBy fields: TarFields) {}
    func outlivesOpaque(_ name: RawSpan) -> Bool { false }
    func removeEarlierMark(_ place: NamePlace, _ found: EntryMetadata) -> Bool { false }
    var presentMarks: UInt64 { 0 }
}
