import LayerModel

/// How an image spells the names of attributes: a number for how it begins, and the rest.
enum AttributeNames {
    static let user: UInt8 = 1
    static let accessList: UInt8 = 2
    static let defaultList: UInt8 = 3
    static let trusted: UInt8 = 4
    static let security: UInt8 = 6

    /// The number and the bytes that it stands for; nil where an image has no place for the name.
    static func index(_ name: RawSpan) -> (index: UInt8, prefix: Int)? {
        if bytes(name, startWith: "user.") { return (user, 5) }
        if bytes(name, startWith: "security.") { return (security, 9) }
        if bytes(name, startWith: "trusted.") { return (trusted, 8) }
        if bytes(name, equal: "system.posix_acl_access") { return (accessList, name.byteCount) }
        if bytes(name, equal: "system.posix_acl_default") { return (defaultList, name.byteCount) }
        return nil
    }

    /// What the number stands for; nil for one that is unknown.
    static func prefix(_ index: UInt8) -> StaticString? {
        switch index {
        case user: "user."
        case accessList: "system.posix_acl_access"
        case defaultList: "system.posix_acl_default"
        case trusted: "trusted."
        case security: "security."
        default: nil
        }
    }

    /// Puts numbers into the order of what they stand for.
    static func rank(_ index: UInt8) -> Int {
        switch index {
        case security: 0
        case accessList: 1
        case defaultList: 2
        case trusted: 3
        default: 4
        }
    }
}

/// One attribute as it lies in an image: places in some bytes.
struct AttributeEntry: BitwiseCopyable {
    var index: UInt8
    var name: Int
    var nameCount: Int
    var value: Int
    var valueCount: Int

    /// Bytes of the entry with its padding.
    static func byteCount(name: Int, value: Int) -> Int { (4 + name + value).rounded(to: 4) }

    /// Reads the entry at a place and moves on to the next; nil where it does not lie in the bytes.
    static func next(_ bytes: RawSpan, _ position: inout Int) -> AttributeEntry? {
        guard bytes.byteCount - position >= 4 else { return nil }
        let nameCount = Int(bytes[position])
        let valueCount = Int(bytes.number16(position + 2))
        let name = position + 4
        guard bytes.byteCount - name >= nameCount + valueCount else { return nil }
        let entry = AttributeEntry(
            index: bytes[position + 1], name: name, nameCount: nameCount, value: name + nameCount,
            valueCount: valueCount)
        // The last entry's padding may be what follows the area.
        position = min(position + byteCount(name: nameCount, value: valueCount), bytes.byteCount)
        return entry
    }
}
