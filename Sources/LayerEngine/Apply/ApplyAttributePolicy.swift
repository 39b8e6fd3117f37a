import LayerModel

/// Which extended attributes of an archive are set, and which failures to set them are warnings
/// (layer-archive.md A24, V14).
struct ApplyAttributePolicy: Sendable {
    var bestEffort = false
    var keepSELinux = false
    /// Whether this process is root only inside a user namespace.
    var isInUserNamespace = false

    enum Verdict {
        case set
        /// Left out without a word: it belongs to the host.
        case ignore
        /// Left out with a warning: it would change what the kernel or a driver shows.
        case refuse
    }

    /// What to do with an attribute of the archive.
    func verdict(_ name: RawSpan) -> Verdict {
        if name.byteCount == 0 || name.byteCount > 255 { return .refuse }
        if bytes(name, startWith: "trusted.") { return .refuse }
        if bytes(name, startWith: "user.overlay.") || bytes(name, startWith: "user.fuseoverlayfs.")
            || bytes(name, startWith: "user.containers.override_") || bytes(name, startWith: "security.overlay.")
        {
            return .refuse
        }
        if bytes(name, equal: "security.selinux") { return keepSELinux ? .set : .ignore }
        if bytes(name, equal: "security.evm") { return .ignore }
        return .set
    }

    /// Whether a failure to set an attribute is a warning only.
    func tolerates(_ errno: Int32, attribute: RawSpan, of kind: EntryKind) -> Bool {
        let isUnsupported = errno == 95 || errno == 38
        let isDenied = errno == 1 || errno == 13
        if isUnsupported { return bestEffort || !bytes(attribute, equal: "security.capability") }
        guard isDenied else { return false }
        if kind != .regular, kind != .directory, bytes(attribute, startWith: "user.") { return true }
        return bestEffort || isInUserNamespace
    }

    /// Whether a failure to set an owner is a warning only.
    func tolerates(ownerError errno: Int32) -> Bool { bestEffort && (errno == 1 || errno == 22) }
}
