import LayerModel
import LayerRules

/// Which extended attributes a profile exports, and compares.
struct AttributePolicy: OptionSet, Sendable {
    let rawValue: UInt8

    static let capabilities = AttributePolicy(rawValue: 1 << 0)
    static let integrity = AttributePolicy(rawValue: 1 << 1)
    static let user = AttributePolicy(rawValue: 1 << 2)
    static let accessControl = AttributePolicy(rawValue: 1 << 3)
    /// What other programs of this host keep, `trusted.` and `security.`: for copies that stay here.
    static let host = AttributePolicy(rawValue: 1 << 4)

    static let capability: AttributePolicy = [.capabilities]
    static let cstorage: AttributePolicy = [.capabilities, .integrity, .user]
    static let full: AttributePolicy = [.capabilities, .integrity, .user, .accessControl]

    static let whole: AttributePolicy = [.full, .host]

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
            if contains(.accessControl), EntryAttributeRules.isAccessList(name) { return true }
            // Labels are those of the place, and the signature is over the inode.
            return contains(.host) && bytes(name, startWith: "security.")
                && !bytes(name, startWith: "security.overlay.")
                && !bytes(name, equal: "security.selinux") && !bytes(name, equal: "security.evm")
        case UInt8(ascii: "t"):
            return contains(.host) && bytes(name, startWith: "trusted.") && !bytes(name, startWith: "trusted.overlay.")
        default:
            return false
        }
    }
}
