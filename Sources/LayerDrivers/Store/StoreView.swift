import Glibc
import LayerModel

/// A store as far as it is looked at: which layers it has, and which of them may be used here.
protocol StoreView: Sendable {
    /// Whether unfinished layers may be used here.
    var seesUnfinished: Bool { get }
    /// Throws where it cannot be told, because a disk fails or its files may not be read: such a layer may well be there.
    func state(of id: LayerID) throws(LayerError) -> LayerState
    /// The file that says that the layer's contents are still to come.
    func unfinishedMark(_ id: LayerID) -> PathBytes
}

extension StoreView {
    /// Whether there is such a layer for this process.
    func knows(_ id: LayerID) throws(LayerError) -> Bool {
        switch try state(of: id) {
        case .absent: false
        case .unfinished: seesUnfinished
        case .complete: true
        }
    }

    /// Whether the layer is listed: it is complete, or nobody can tell. Who uses that one is told why.
    func isListed(_ id: LayerID) -> Bool {
        StoreFiles.mayBe { () throws(LayerError) in try state(of: id) == .complete }
    }

    /// Throws `notFound` unless the layer is there.
    func require(_ id: LayerID, _ operation: String) throws(LayerError) {
        guard try knows(id) else { throw DriverErrors.unknownLayer(operation, id) }
    }
}

extension LayerError {
    /// Whether what was looked at has another form than a layer has. Any other failure says nothing of what is there.
    var saysOtherForm: Bool {
        guard case .systemCall(let call) = cause else { return true }
        return [ENOENT, ENOTDIR, EISDIR, ELOOP, ENAMETOOLONG, EINVAL, ENXIO, EFBIG].contains(call.errno)
    }
}
