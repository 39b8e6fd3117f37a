internal import Glibc
internal import LayerModel

extension ProcessState {
    /// The user that new files belong to.
    public static var effectiveUser: UInt32 { geteuid() }

    /// The group that new files belong to, unless their directory says otherwise.
    public static var effectiveGroup: UInt32 { getegid() }
}

extension ProcessState {
    /// Whether this process lives in a user namespace of its own, where devices cannot be made and root's ids are
    /// few: its id map is not the whole range onto itself.
    public static let isInUserNamespace: Bool = {
        guard let file = try? OwnedDescriptor.open(NamePointer("/proc/self/uid_map"), .readOnly) else { return false }
        let text = Slab(capacity: 4096)
        guard let count = try? file.read(into: text, 0..<4096) else { return false }
        let fields = String(decoding: text.span(0..<count).copied(), as: UTF8.self).split(
            whereSeparator: \.isWhitespace)
        return fields != ["0", "0", "4294967295"]
    }()
}
