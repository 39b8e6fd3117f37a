import LayerModel

/// A store as far as it is looked at: which layers it has, and which of them may be used here.
protocol StoreView: Sendable {
    /// Whether unfinished layers may be used here.
    var seesUnfinished: Bool { get }
    func state(of id: LayerID) -> LayerState
    /// The file that says that the layer's contents are still to come.
    func unfinishedMark(_ id: LayerID) -> PathBytes
}

extension StoreView {
    /// Whether there is such a layer for this process.
    func knows(_ id: LayerID) -> Bool {
        switch state(of: id) {
        case .absent: false
        case .unfinished: seesUnfinished
        case .complete: true
        }
    }

    /// Throws `notFound` unless the layer is there.
    func require(_ id: LayerID, _ operation: String) throws(LayerError) {
        guard knows(id) else { throw DriverErrors.unknownLayer(operation, id) }
    }
}
