/// The most that a mode may give where the access control list that goes with it is missing (acl(5)).
///
/// Where there is a list the group's bits of a mode are its mask; the owning group has the list's own entry, within the mask.
/// Without the list a user named in it counts as one of the owning group or of the others, and the members of a group named
/// in it as others, though it may give them less. What a list does not say it does not give.
public struct AccessLimit: Sendable {
    private var mask: UInt32 = 7
    private var owningGroup: UInt32?
    private var other: UInt32?
    /// What every user named in the list may do at least, and every group; nil where none is named.
    private var users: UInt32?
    private var groups: UInt32?

    /// The tags of a list's entries, as the kernel has them.
    public enum Tag {
        public static let owner: UInt16 = 1
        public static let user: UInt16 = 2
        public static let owningGroup: UInt16 = 4
        public static let group: UInt16 = 8
        public static let mask: UInt16 = 16
        public static let other: UInt16 = 32
    }

    /// The limit of a list without entries, which gives nobody but the owner anything.
    init() {}

    /// The limit of a list as it is kept in an attribute: LE32 version 2, then LE16 tag, LE16 permissions, LE32 id for each
    /// entry. Another form gives nobody but the owner anything.
    public init(attribute value: [UInt8]) {
        guard value.count % 8 == 4, value.starts(with: [2, 0, 0, 0]) else { return }
        for start in stride(from: 4, to: value.count, by: 8) {
            take(UInt16(value[start]) | UInt16(value[start + 1]) << 8, UInt32(value[start + 2]))
        }
    }

    /// Takes one entry.
    mutating func take(_ tag: UInt16, _ permissions: UInt32) {
        let bits = permissions & 7
        switch tag {
        case Tag.owner: break
        case Tag.user: users = bits & (users ?? 7)
        case Tag.owningGroup: owningGroup = bits & (owningGroup ?? 7)
        case Tag.group: groups = bits & (groups ?? 7)
        case Tag.mask: mask &= bits
        case Tag.other: other = bits & (other ?? 7)
        default: takeUnknown()
        }
    }

    /// Takes an entry that could not be understood: it may be anybody's, and deny everything.
    mutating func takeUnknown() {
        users = 0
        groups = 0
    }

    /// What is left of a mode.
    public func applied(to mode: UInt32) -> UInt32 {
        let forGroup = mask & (owningGroup ?? 0) & (users ?? 7)
        var forOthers = other ?? 0
        if let named = users ?? groups { forOthers &= mask & named & (groups ?? 7) }
        return mode & (~0o077 | forGroup << 3 | forOthers)
    }
}
