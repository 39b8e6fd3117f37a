import LayerModel

/// What a check has found so far, mending on the way when it is to repair.
struct Findings {
    let repair: Bool
    private(set) var list: [Finding] = []

    init(repair: Bool) { self.repair = repair }

    /// Records something. `mend` runs when repairing; without it only the user can help.
    mutating func add(
        _ kind: Finding.Kind, _ path: PathBytes, _ what: String, _ mend: (() throws(LayerError) -> Void)? = nil
    ) throws(LayerError) {
        guard repair else { return list.append(Finding(kind, path, what, .found)) }
        guard let mend else { return list.append(Finding(kind, path, what, .left)) }
        try mend()
        list.append(Finding(kind, path, what, .repaired))
    }
}
