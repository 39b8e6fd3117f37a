import LayerModel

/// Which extended attributes a profile exports, and compares.
struct AttributePolicy: OptionSet, Sendable {
    let rawValue: UInt8

    static let capabilities = AttributePolicy(rawValue: 1 << 0)
    static let integrity = AttributePolicy(rawValue: 1 << 1)
    static let user = AttributePolicy(rawValue: 1 << 2)
    static let accessControl = AttributePolicy(rawValue: 1 << 3)

    static let capability: AttributePolicy = [.capabilities]
    static let cstorage: AttributePolicy = [.capabilities, .integrity, .user]
    static let full: AttributePolicy = [.capabilities, .integrity, .user, .accessControl]

    /// Whether the attribute `name` belongs into the archive.
    func exports(_ name: RawSpan) -> Bool {
        guard name.byteCount > 0 else { return false }
        switch name[0] {
        case UInt8(ascii: "u"):
            guard contains(.user), bytes(name, startWith: "user.") else { return false }
            // Whoever unpacks the layer might take them for marks of his own.
            if bytes(name, startWith: "user.overlay.") || bytes(name, startWith: "user.containers.override_") {
                return false
            }
            return !(contains(.accessControl) && bytes(name, startWith: "user.fuseoverlayfs."))
        case UInt8(ascii: "s"):
            if bytes(name, equal: "security.capability") { return contains(.capabilities) }
            if bytes(name, equal: "security.ima") { return contains(.integrity) }
            if contains(.accessControl) {
                return bytes(name, equal: "system.posix_acl_access") || bytes(name, equal: "system.posix_acl_default")
            }
            return false
        default:
            return false
        }
    }
}
