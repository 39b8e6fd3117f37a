/// The forms in which a deletion or an opaque directory may lie on disk.
public struct WhiteoutForms: OptionSet, Sendable {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// Character device 0:0 in place of the deleted name (kernel overlayfs).
    public static let device = WhiteoutForms(rawValue: 1 << 0)
    /// A file `.wh.NAME` beside the place of the deleted name (aufs, OCI).
    public static let prefixedFile = WhiteoutForms(rawValue: 1 << 1)
    /// An empty file with the attribute `overlay.whiteout` (Linux 6.7).
    public static let attributeFile = WhiteoutForms(rawValue: 1 << 2)
    /// A directory with `trusted.overlay.opaque` = `y`; other marks are read in `trusted.overlay.` too.
    public static let trustedOpaque = WhiteoutForms(rawValue: 1 << 3)
    /// A directory with `user.overlay.opaque` = `y` (mounts with `userxattr`); other marks are read there too.
    public static let userOpaque = WhiteoutForms(rawValue: 1 << 4)
    /// A directory with `user.fuseoverlayfs.opaque` = `y`.
    public static let fuseOpaque = WhiteoutForms(rawValue: 1 << 5)
    /// A file `.wh..wh..opq` in the directory.
    public static let markerFile = WhiteoutForms(rawValue: 1 << 6)
}

/// What a name in a layer archive, or in an aufs branch, says by its `.wh.` prefix.
public enum WhiteoutName: Sendable, Equatable {
    /// Not a whiteout.
    case ordinary
    /// `.wh.NAME`: NAME is deleted; it begins this many bytes into the given name.
    case deletion(nameOffset: Int)
    /// `.wh..wh..opq`: the directory is opaque.
    case opaque
    /// `.wh.`, `.wh..`, `.wh...`: names nothing that could be deleted.
    case invalid
}

extension WhiteoutName {
    /// The prefix of every whiteout file, `.wh.`.
    public static let prefix: StaticString = ".wh."
    /// The prefix of aufs's own names, which count as such only at the top of a layer.
    public static let metaPrefix: StaticString = ".wh..wh."
    /// The opaque marker, `.wh..wh..opq`.
    public static let opaqueMarker: StaticString = ".wh..wh..opq"

    /// Classifies the last component of a name.
    public init(_ name: RawSpan) {
        guard bytes(name, startWith: Self.prefix) else {
            self = .ordinary
            return
        }
        if bytes(name, equal: Self.opaqueMarker) {
            self = .opaque
            return
        }
        let rest = name.extracting(4..<name.byteCount)
        if rest.byteCount == 0 || bytes(rest, equal: ".") || bytes(rest, equal: "..") {
            self = .invalid
        } else {
            self = .deletion(nameOffset: 4)
        }
    }
}
