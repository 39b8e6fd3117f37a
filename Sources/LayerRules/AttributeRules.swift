import LayerModel

/// Which extended attributes of an archive are taken over.
public struct EntryAttributeRules: Sendable {
    public var keepSELinux = false
    /// Whether attributes that only this host's root may write come from this host.
    public var keepsHost = false

    /// What becomes of an attribute.
    public enum Verdict: Sendable {
        case set
        /// Left out without a word: it belongs to the host.
        case ignore
        /// Left out with a warning: it would change what the kernel or a driver shows.
        case refuse
    }

    public init(keepSELinux: Bool = false, keepsHost: Bool = false) {
        self.keepSELinux = keepSELinux
        self.keepsHost = keepsHost
    }

    /// What to do with an attribute of the archive.
    public func verdict(_ name: RawSpan) -> Verdict {
        if name.byteCount == 0 || name.byteCount > 255 { return .refuse }
        if bytes(name, startWith: "trusted.") {
            return keepsHost && !bytes(name, startWith: "trusted.overlay.") ? .set : .refuse
        }
        if bytes(name, startWith: "user.overlay.") || bytes(name, startWith: "user.fuseoverlayfs.")
            || bytes(name, startWith: "user.containers.override_") || bytes(name, startWith: "security.overlay.")
        {
            return .refuse
        }
        if bytes(name, equal: "security.selinux") { return keepSELinux ? .set : .ignore }
        if bytes(name, equal: "security.evm") { return .ignore }
        return .set
    }

    /// Whether a layer's entry says all about an attribute: it belongs to the file, wherever that lies, and layers carry
    /// it. Those of the host, of overlayfs and of other programs are nobody's business here.
    public func isPortable(_ name: RawSpan) -> Bool {
        guard verdict(name) == .set else { return false }
        return bytes(name, startWith: "user.") || bytes(name, equal: "security.capability")
            || bytes(name, equal: "security.ima") || Self.isAccessList(name)
    }

    /// Whether the attribute of that name holds an access list (acl(5)).
    public static func isAccessList(_ name: RawSpan) -> Bool {
        bytes(name, equal: "system.posix_acl_access") || bytes(name, equal: "system.posix_acl_default")
    }
}
