import LayerModel

/// What a check has found so far, mended on the way by what may change the store; nil only looks.
struct Findings<Mender> {
    private let mender: Mender?
    private(set) var list: [Finding] = []

    init(mendingWith mender: Mender?) { self.mender = mender }

    var isMending: Bool { mender != nil }

    /// Records something that only the user can help.
    mutating func add(_ kind: Finding.Kind, _ path: PathBytes, _ what: String) {
        list.append(Finding(kind, path, what, isMending ? .left : .found))
    }

    /// Records something. `mend` runs when repairing, and then `remedy` says what it did. What cannot be mended is left, with
    /// the reason, and keeps nobody from mending the rest.
    mutating func add(
        _ kind: Finding.Kind, _ path: PathBytes, _ what: String, _ remedy: String,
        _ mend: (Mender) throws(LayerError) -> Void
    ) {
        guard let mender else { return list.append(Finding(kind, path, what, .found)) }
        do throws(LayerError) {
            try mend(mender)
            list.append(Finding(kind, path, "\(what); \(remedy)", .repaired))
        } catch {
            list.append(Finding(kind, path, "\(what), but: \(error)", .left))
        }
    }
}
