/// What an attribute says by which directories that merge mean more than they hold.
public enum OverlayMark: Sendable, Equatable {
    /// `opaque` = `y`: nothing of the lower directories shows in this one.
    case opaque
    /// `whiteout`: the empty file that carries it stands for a deleted name.
    case whiteout
    /// `redirect`: where the lower contents lie.
    case redirect
    /// `metacopy`: the file's data lie in a lower directory.
    case metacopy
    /// `nlink`: the file has names in lower directories besides those here (mounts with an index).
    case linkCount
    /// `origin`: the handle of the lower file that this one was copied up from.
    case origin
}

/// What becomes of marks that say that contents lie elsewhere (`redirect`, `metacopy`).
public enum MovedContents: Sendable, Equatable {
    /// They are attributes like any other.
    case ignored
    /// They are followed through the lower directories.
    case followed
    /// Whoever merges the directories refuses to show what carries one, with EPERM.
    case refused
}

/// How one kind of upper directory spells deletions: what may be found in it, and what is written into it.
///
/// An attribute is a mark only where whoever merges the directories would obey it: `trusted.overlay.*` can be written by
/// nobody in a container, but any user may put `user.overlay.*` on his own files, and the kernel looks at these only in
/// mounts with `userxattr`, where it keeps users from setting them. Dialects are data: a new one is a new constant, and no
/// reader or writer changes.
public struct WhiteoutDialect: Sendable, Equatable {
    /// The dialects of the command line.
    public enum Name: String, Sendable, CaseIterable {
        /// A whole tree: deletions delete.
        case tree
        /// The kernel's overlayfs.
        case overlay
        /// A branch of aufs.
        case aufs
        /// overlayfs in a program.
        case fuseOverlayFS = "fuse-overlayfs"
    }

    /// Which kind of upper directory it is.
    public var name: Name
    /// Forms that are read; empty for a plain tree, in which every name stands for itself.
    public var recognises: WhiteoutForms
    /// The one form in which a deletion is written.
    public var deletion: WhiteoutForms
    /// The one form in which an opaque directory is written.
    public var opaque: WhiteoutForms
    /// What redirects and metadata-only copies mean.
    public var movedContents: MovedContents

    /// A whole tree: nothing is a marker.
    public static let tree = WhiteoutDialect(name: .tree, recognises: [], deletion: [], opaque: [])
    /// An upper directory of kernel overlayfs.
    public static let overlay = WhiteoutDialect(
        name: .overlay, recognises: [.device, .attributeFile, .trustedOpaque], deletion: .device,
        opaque: .trustedOpaque, movedContents: .followed)
    /// An upper directory of overlayfs mounted with `userxattr`: redirects and copies of metadata are off in such mounts,
    /// and what carries their marks cannot be looked at.
    public static let overlayUserXattr = WhiteoutDialect(
        name: .overlay, recognises: [.device, .attributeFile, .userOpaque], deletion: .device, opaque: .userOpaque,
        movedContents: .refused)
    /// A branch of aufs.
    public static let aufs = WhiteoutDialect(
        name: .aufs, recognises: [.prefixedFile, .markerFile], deletion: .prefixedFile, opaque: .markerFile)
    /// An upper directory of fuse-overlayfs that root runs: `.wh.` files need no privilege to write. It obeys the mark of an
    /// opaque directory in every namespace.
    public static let fuseOverlayFS = WhiteoutDialect(
        name: .fuseOverlayFS,
        recognises: [.device, .prefixedFile, .markerFile, .trustedOpaque, .userOpaque, .fuseOpaque],
        deletion: .prefixedFile, opaque: .markerFile)
    /// The same of a fuse-overlayfs that has no privileges, and sees no `trusted.` attributes.
    public static let fuseOverlayFSUserXattr = WhiteoutDialect(
        name: .fuseOverlayFS, recognises: [.device, .prefixedFile, .markerFile, .userOpaque, .fuseOpaque],
        deletion: .prefixedFile, opaque: .markerFile)

    /// The dialect the command line calls `name`; with `userXattr`, of whoever has his marks in `user.` attributes.
    public init(_ name: Name, userXattr: Bool = false) {
        switch name {
        case .tree: self = .tree
        case .overlay: self = userXattr ? .overlayUserXattr : .overlay
        case .aufs: self = .aufs
        case .fuseOverlayFS: self = userXattr ? .fuseOverlayFSUserXattr : .fuseOverlayFS
        }
    }

    init(
        name: Name, recognises: WhiteoutForms, deletion: WhiteoutForms, opaque: WhiteoutForms,
        movedContents: MovedContents = .ignored
    ) {
        self.name = name
        self.recognises = recognises
        self.deletion = deletion
        self.opaque = opaque
        self.movedContents = movedContents
    }

    /// Whether any attribute is a mark.
    public var hasMarks: Bool { !recognises.isDisjoint(with: [.trustedOpaque, .userOpaque, .fuseOpaque]) }

    /// What an attribute of this name says here; nil for one that is nobody's mark.
    ///
    /// The only place that knows which names count.
    public func mark(_ attribute: RawSpan) -> OverlayMark? {
        let skipped: Int
        if bytes(attribute, startWith: "trusted.overlay.") {
            guard recognises.contains(.trustedOpaque) else { return nil }
            skipped = 16
        } else if bytes(attribute, startWith: "user.overlay.") {
            guard recognises.contains(.userOpaque) else { return nil }
            skipped = 13
        } else {
            return recognises.contains(.fuseOpaque) && bytes(attribute, equal: "user.fuseoverlayfs.opaque")
                ? .opaque : nil
        }
        let name = attribute.extracting(skipped..<attribute.byteCount)
        if bytes(name, equal: "opaque") { return .opaque }
        if bytes(name, equal: "whiteout") { return recognises.contains(.attributeFile) ? .whiteout : nil }
        guard movedContents != .ignored else { return nil }
        if bytes(name, equal: "redirect") { return .redirect }
        if bytes(name, equal: "metacopy") { return .metacopy }
        if bytes(name, equal: "nlink") { return .linkCount }
        return bytes(name, equal: "origin") ? .origin : nil
    }

    /// Which of several marks that a directory is opaque decides, the least first; nil where each counts that says so.
    ///
    /// fuse-overlayfs looks at the first that is there, and only at how its value begins.
    public func rank(_ attribute: RawSpan) -> Int? {
        guard name == .fuseOverlayFS else { return nil }
        if bytes(attribute, startWith: "trusted.") { return 0 }
        return bytes(attribute, startWith: "user.overlay.") ? 1 : 2
    }

    /// Whether an attribute would be a mark of an upper directory mounted with `userxattr`, but is not one here: worth a
    /// word, since nothing in the tree tells how it was mounted.
    public func isForeignMark(_ attribute: RawSpan) -> Bool {
        guard hasMarks, bytes(attribute, startWith: "user."), mark(attribute) == nil else { return false }
        return WhiteoutDialect(name, userXattr: true).mark(attribute).map { $0 != .linkCount && $0 != .origin } ?? false
    }
}
