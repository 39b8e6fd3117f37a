import Glibc
import LayerModel
import LayerRules
import TarCodec

/// Which extended attributes of an archive are set, and which failures to set them are warnings.
struct ApplyAttributePolicy: Sendable {
    var bestEffort = false
    /// Which are set at all.
    var rules = EntryAttributeRules()
    /// Whether this process is root only inside a user namespace.
    var isInUserNamespace = false

    /// XATTR_SIZE_MAX.
    private static let longestValue = 65_536

    /// What an attribute that could not be set, or removed, needs.
    func remedy(_ errno: Int32, attribute: RawSpan, byteCount: Int = 0, of kind: EntryKind) -> String {
        let leave = bestEffort ? "" : ", or leave it out with --best-effort"
        let onlyLeave = bestEffort ? "" : ": leave it out with --best-effort"
        let isCapability = bytes(attribute, equal: "security.capability")
        switch errno {
        case EOPNOTSUPP, ENOSYS:
            return "unpack onto a file system that has such attributes, such as ext4, xfs or btrfs" + leave
        case E2BIG where byteCount > Self.longestValue, ERANGE where byteCount > Self.longestValue:
            return "no file system takes a value of more than 64 KiB" + onlyLeave
        case E2BIG, ENOSPC, ERANGE, EDQUOT:
            return "the file system is full, or has less room for a file's attributes (ext4: 4 KiB, unless made with "
                + "-O ea_inode): unpack onto xfs or btrfs" + leave
        case EPERM where isCapability, EACCES where isCapability:
            return "it takes the capability CAP_SETFCAP: run as root" + leave
        case EPERM, EACCES:
            if kind != .regular, kind != .directory, bytes(attribute, startWith: "user.") {
                return "only files and directories have user attributes"
            }
            return "this user may not set it: run as root" + leave
        case EINVAL where isInUserNamespace && EntryAttributeRules.isAccessList(attribute):
            return
                "it may name a user or a group that has no place in this user namespace: give it more subordinate ids"
                + leave
        case EINVAL: return "the kernel does not take its value" + onlyLeave
        default: return "see xattr(7)" + leave
        }
    }

    /// Whether a failure to set an attribute is a warning only.
    func tolerates(_ errno: Int32, attribute: RawSpan, of kind: EntryKind) -> Bool {
        let isUnsupported = errno == EOPNOTSUPP || errno == ENOSYS
        let isDenied = errno == EPERM || errno == EACCES
        // This value, on this file system.
        if [E2BIG, EINVAL, ENOSPC, ERANGE, EDQUOT].contains(errno) { return bestEffort }
        if isUnsupported { return bestEffort || !bytes(attribute, equal: "security.capability") }
        guard isDenied else { return false }
        if kind != .regular, kind != .directory, bytes(attribute, startWith: "user.") { return true }
        return bestEffort || isInUserNamespace
    }

    /// What is left of a mode where an attribute is missing that belongs to it: an access control list's mask stands in the
    /// place of the group's bits, and without the list it would be the group's rights.
    func mode(_ mode: UInt32, without attribute: RawSpan, _ value: RawSpan) -> UInt32 {
        guard bytes(attribute, equal: "system.posix_acl_access") else { return mode }
        return AccessLimit(attribute: value.copied()).applied(to: mode)
    }

    /// Whether a failure to set an owner is a warning only.
    func tolerates(ownerError errno: Int32) -> Bool { bestEffort && (errno == EPERM || errno == EINVAL) }
}
