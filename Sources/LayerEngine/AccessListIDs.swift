import LayerModel
import TarCodec

/// The users and groups that access control lists name (acl(5)), which are ids of the host on disk and ids of the container
/// in a layer, as owners are.
///
/// A list is kept in an attribute as LE32 version 2, then LE16 tag, LE16 permissions, LE32 id for each entry.
enum AccessListIDs {
    /// An id that the map has no place for.
    struct Unmapped: Error, Equatable, Sendable {
        /// "user" or "group".
        let what: String
        let id: UInt32
    }

    /// The list with the container's ids in the place of the host's.
    ///
    /// A value of another form is returned as it is: the kernel refuses it.
    static func container(_ value: [UInt8], users: IDMap, groups: IDMap) throws(Unmapped) -> [UInt8] {
        try map(value, users: { users.containerID(forHost: $0) }, groups: { groups.containerID(forHost: $0) })
    }

    /// The list with the host's ids in the place of the container's; else as `container`.
    static func host(_ value: [UInt8], users: IDMap, groups: IDMap) throws(Unmapped) -> [UInt8] {
        try map(value, users: { users.hostID(forContainer: $0) }, groups: { groups.hostID(forContainer: $0) })
    }

    private static func map(
        _ value: [UInt8], users: (UInt32) -> UInt32?, groups: (UInt32) -> UInt32?
    ) throws(Unmapped) -> [UInt8] {
        guard value.count % 8 == 4, value.starts(with: [2, 0, 0, 0]) else { return value }
        // The kernel keeps named users, then named groups, each by rising ids, and so do we where the map changes that.
        var entries: [(order: UInt8, id: UInt32, bytes: [UInt8])] = []
        for start in stride(from: 4, to: value.count, by: 8) {
            var entry = Array(value[start..<start + 8])
            let tag = UInt16(entry[0]) | UInt16(entry[1]) << 8
            var id = UInt32(entry[4]) | UInt32(entry[5]) << 8 | UInt32(entry[6]) << 16 | UInt32(entry[7]) << 24
            if tag == AccessLimit.Tag.user || tag == AccessLimit.Tag.group {
                let isUser = tag == AccessLimit.Tag.user
                guard let mapped = isUser ? users(id) : groups(id) else {
                    throw Unmapped(what: isUser ? "user" : "group", id: id)
                }
                id = mapped
                for byte in 0..<4 { entry[4 + byte] = UInt8(truncatingIfNeeded: id >> UInt32(8 * byte)) }
            }
            entries.append((entry[0], id, entry))
        }
        entries.sort { ($0.order, $0.id) < ($1.order, $1.id) }
        return [2, 0, 0, 0] + entries.flatMap(\.bytes)
    }
}
