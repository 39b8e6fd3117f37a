public import LayerModel
public import TarCodec

/// Why an entry is refused, before it is said where it stands.
public struct EntryRefusal: Error, Equatable, Sendable {
    public let code: LayerError.Code
    public let reason: String

    public init(_ code: LayerError.Code, _ reason: String) {
        self.code = code
        self.reason = reason
    }

    public static let escapes = EntryRefusal(.unsafePath, "the name climbs above the root")
    public static let linkEscapes = EntryRefusal(.unsafePath, "the link's target climbs above the root")
    public static let rootIsNoDirectory = EntryRefusal(.unsafePath, "an entry that is no directory names the root")
    public static let longComponent = EntryRefusal(.invalidArchive, "a component of a path is too long")
    public static let longLinkComponent = EntryRefusal(.invalidArchive, "a link's component is too long")
    public static let longTarget = EntryRefusal(.invalidArchive, "the link's target is too long")
    public static let emptyWhiteout = EntryRefusal(.invalidArchive, "the whiteout names nothing")
    public static let linkToRoot = EntryRefusal(.invalidArchive, "a hard link leads to the root")
    public static let linkToDirectory = EntryRefusal(.invalidArchive, "a hard link leads to a directory")
    public static let linkAboveTarget = EntryRefusal(
        .invalidArchive, "a hard link takes the place of a directory above its target")
    public static let unknownAUFSFile = EntryRefusal(.invalidArchive, "the link's aufs file is not in the archive")
    public static let endsInFile = EntryRefusal(.invalidArchive, "the archive ends inside a file")
}

/// What the numbers of an entry mean, and which are refused.
public enum EntryRules {
    /// The longest target of a symbolic link, and the longest component of a path.
    public static let longestTarget = 4095
    public static let longestComponent = 255
    /// Links followed on one path, as the kernel's limit.
    public static let linkLimit = 40

    /// The entry's owner. 2^32 - 1 means "leave it as it is" to chown(2), and is nobody's id.
    public static func owner(of fields: TarFields) throws(EntryRefusal) -> (uid: UInt32, gid: UInt32) {
        guard hasOwner(fields) else {
            throw EntryRefusal(.invalidArchive, "the owner \(fields.uid):\(fields.gid) is out of range")
        }
        return (UInt32(fields.uid), UInt32(fields.gid))
    }

    /// Whether the owner's numbers are ids.
    public static func hasOwner(_ fields: TarFields) -> Bool {
        0...0xffff_fffe ~= fields.uid && 0...0xffff_fffe ~= fields.gid
    }

    /// The number of a device: Linux has 12 bits for the major and 20 for the minor one.
    public static func device(of fields: TarFields) throws(EntryRefusal) -> (major: UInt32, minor: UInt32) {
        guard 0..<(1 << 12) ~= fields.deviceMajor, 0..<(1 << 20) ~= fields.deviceMinor else {
            throw EntryRefusal(
                .invalidArchive, "the device number \(fields.deviceMajor):\(fields.deviceMinor) is out of range")
        }
        return (UInt32(fields.deviceMajor), UInt32(fields.deviceMinor))
    }

    /// A time as it is kept: nothing before 1970, unless that is wanted, or beyond what 64 bits of nanoseconds hold.
    public static func time(_ seconds: Int64, _ nanoseconds: Int32, isExact: Bool) -> (
        seconds: Int64, nanoseconds: UInt32
    ) {
        // 9,223,372,036 s is the end of 2^63 ns.
        guard seconds >= 0 || isExact, seconds < 9_223_372_036 else { return (0, 0) }
        return (seconds, UInt32(max(nanoseconds, 0)))
    }

    /// Whether an entry is a device 0:0, which is taken for a whiteout.
    public static func isWhiteoutDevice(_ fields: TarFields) -> Bool {
        fields.type == TarType.character && fields.deviceMajor == 0 && fields.deviceMinor == 0
    }

    /// Whether an entry stands for nothing in the tree: a volume's label, a global header.
    public static func isSkipped(_ fields: TarFields) -> Bool {
        fields.type == TarType.gnuVolume || fields.type == TarType.paxGlobal
    }

    /// Whether an entry of aufs's bookkeeping is a file that links will lead to; the rest of it is left out.
    public static func isKeptAside(_ fields: TarFields, _ name: ArchiveName) -> Bool {
        bytes(name.directory, equal: ArchiveName.keptFiles) && name.base.byteCount <= longestComponent
            && (fields.type == TarType.regular || fields.type == TarType.contiguous
                || fields.type == TarType.gnuSparse)
    }

    /// The refusal of an entry of a kind that is not known.
    public static func unknownType(_ fields: TarFields) -> EntryRefusal {
        EntryRefusal(.invalidArchive, "entries of type \(fields.type) are not supported")
    }
}
