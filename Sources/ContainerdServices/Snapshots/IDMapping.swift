import LayerModel

/// Ids that a request's labels map, `containerd.io/snapshot/uidmapping` and `gidmapping`: `CONTAINER:HOST:SIZE[,…]`.
enum IDMapping {
    /// The owner of the root directory of a snapshot with these labels; nil where they map nothing.
    ///
    /// Throws `invalidArgument` for a map that cannot be read or that has no place for root.
    static func rootOwner(_ labels: [String: String], _ operation: String) throws(ServiceFailure) -> (
        uid: UInt32, gid: UInt32
    )? {
        let uid = try host(labels[SnapshotLabel.uidMapping], SnapshotLabel.uidMapping, operation)
        let gid = try host(labels[SnapshotLabel.gidMapping], SnapshotLabel.gidMapping, operation)
        guard uid != nil || gid != nil else { return nil }
        return (uid ?? 0, gid ?? 0)
    }

    private static func host(_ text: String?, _ label: String, _ operation: String) throws(ServiceFailure) -> UInt32? {
        guard let text else { return nil }
        let ranges = text.split(separator: ",", omittingEmptySubsequences: false).map { IDMap.parseRange(String($0)) }
        let map = IDMap(ranges.compactMap { $0 })
        guard map.ranges.count == ranges.count, let host = map.hostID(forContainer: 0) else {
            throw ServiceFailure(
                .invalidArgument,
                "\(operation): label \(label): \(quoted(text)) is no map of ids that has a place for id 0")
        }
        return host
    }
}
