internal import CAttr
public import LayerModel
internal import Synchronization

/// What the administrator says of extended attributes in /etc/xattr.conf (libattr): which do not go along where files are
/// copied from one place to another, as those of `cp --preserve=xattr` do not.
public enum AttributeRules {
    /// libattr reads the file at the first question, and says nothing of threads.
    private static let asking = Mutex<Void>(())

    /// Whether copies leave the attribute out. A rule `permissions` does not: access lists are copied like modes.
    public static func leavesOut(_ name: borrowing NamePointer) -> Bool {
        // Reason: the name is NUL-terminated and valid during the call; without a context no message is made.
        let action = asking.withLock { _ in unsafe attr_copy_action(name.address, nil) }
        return action == ATTR_ACTION_SKIP
    }

    /// The same for a name without its NUL.
    public static func leavesOut(_ name: RawSpan) -> Bool {
        let terminated = name.copied() + [0]
        return leavesOut(NamePointer(terminated: terminated.rawBytes))
    }
}

/// Attributes that copies left out because of the rules, by name.
public struct LeftOutAttributes: Sendable, Equatable {
    /// How many values of each name.
    public private(set) var counts: [String: Int] = [:]
    /// Names beyond which only the number is kept.
    private static let most = 100

    public init() {}

    public var isEmpty: Bool { counts.isEmpty }

    /// "security.evm of 3 files, user.Beagle.x of 1 file", sorted by name.
    public var text: String {
        counts.sorted { $0.key < $1.key }.map { "\($0.key) of \($0.value) \($0.value == 1 ? "file" : "files")" }
            .joined(separator: ", ")
    }

    public mutating func add(_ name: RawSpan, count: Int = 1) {
        add(PathBytes(name.copied()).description, count)
    }

    public mutating func add(_ other: LeftOutAttributes) {
        for (name, count) in other.counts { add(name, count) }
    }

    private mutating func add(_ name: String, _ count: Int) {
        guard counts[name] != nil || counts.count < Self.most else {
            counts["others", default: 0] += count
            return
        }
        counts[name, default: 0] += count
    }
}
