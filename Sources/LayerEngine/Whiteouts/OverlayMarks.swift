import LayerModel
import LinuxIO

/// What overlay attributes say of a directory or file, as far as the dialect obeys them.
struct OverlayMarks {
    /// Nothing of the lower directories shows.
    var opaque = false
    /// Empty files in it are whiteouts where they are marked so (`opaque` = `x`, Linux 6.7): worth a look at each.
    var attributeWhiteouts = false
    /// The file's data lie in a lower directory.
    var metacopy = false
    /// The file itself is a whiteout by attribute.
    var whiteout = false
    /// An attribute is a mark of mounts with `userxattr`, which this one is not taken for.
    var sawForeign = false
    /// How many names the file has in all, as the index wrote it; nil where it wrote nothing.
    var linkCount: [UInt8]?
    /// The handle of the lower file.
    var origin: [UInt8]?
    /// Where the lower contents lie; nil for under the same name. Of what carries no `refusal` only.
    private(set) var redirect: OverlayRedirect?
    private var redirectRefusal: Refusal?
    private var opaqueRank = Int.max
    private var metacopyRefusal: Refusal?

    /// Why whoever merges the directories would show an error in place of what carries the marks.
    enum Refusal {
        /// A redirect that is no path, or a mark of metadata that is none.
        case invalid
        /// A redirect or a metadata-only copy in a mount with `userxattr`.
        case notFollowed

        /// The kernel's errno: EINVAL, EPERM.
        var errno: Int32 {
            switch self {
            case .invalid: 22
            case .notFollowed: 1
            }
        }

        var reason: String {
            switch self {
            case .invalid: "its overlay.redirect or overlay.metacopy has a value that overlayfs refuses"
            case .notFollowed:
                "it carries user.overlay.redirect or user.overlay.metacopy, which mounts with userxattr refuse to follow"
            }
        }
    }

    /// What counts of the marks of a layer's root: overlayfs merges roots whatever is written on them.
    var ofRoot: OverlayMarks {
        var marks = OverlayMarks()
        marks.attributeWhiteouts = attributeWhiteouts
        marks.origin = origin
        marks.sawForeign = sawForeign
        return marks
    }

    /// Why the lower contents cannot be found, for a directory (or else a file). Marks that are not looked at, such as the
    /// redirect of an opaque directory, do no harm; nor, where redirects are not followed, does that of a directory over
    /// nothing (`notFollowed`).
    func refusal(isDirectory: Bool) -> Refusal? {
        if isDirectory { return opaque ? nil : redirectRefusal }
        return metacopy ? metacopyRefusal ?? redirectRefusal : nil
    }

    /// Throws what the kernel's lookup fails with where the lower contents cannot be found.
    func check(isDirectory: Bool) throws(SystemCallError) {
        guard let refusal = refusal(isDirectory: isDirectory) else { return }
        throw SystemCallError("overlay.redirect", errno: refusal.errno)
    }

    /// Takes what one attribute says that is a mark in `dialect`.
    mutating func take(_ mark: OverlayMark, _ value: [UInt8], _ dialect: WhiteoutDialect, rank: Int? = nil) {
        switch mark {
        case .opaque:
            if let rank {
                guard rank < opaqueRank else { return }
                opaqueRank = rank
                opaque = 1...16 ~= value.count && value[0] == UInt8(ascii: "y")
                return
            }
            // Exactly one byte counts; "yes" or the empty value say nothing.
            if value == [UInt8(ascii: "y")] { opaque = true }
            if value == [UInt8(ascii: "x")] { attributeWhiteouts = true }
        case .whiteout: whiteout = true
        case .redirect:
            if dialect.movedContents == .refused {
                redirectRefusal = .notFollowed
            } else {
                redirect = OverlayRedirect(value)
                redirectRefusal = redirect == nil ? .invalid : nil
            }
        case .metacopy:
            metacopy = true
            // Linux 6.6 and later: nothing, or a digest behind a head of its own.
            let isWhole = !(1...3).contains(value.count)
            metacopyRefusal = dialect.movedContents == .refused ? .notFollowed : isWhole ? nil : .invalid
        case .linkCount: linkCount = value
        case .origin: origin = value
        }
    }
}

extension AttributeReader {
    /// Reads the marks of an open directory or file.
    mutating func marks(of file: borrowing OwnedDescriptor, dialect: WhiteoutDialect)
        throws(SystemCallError) -> OverlayMarks
    {
        var marks = OverlayMarks()
        let total = try list(of: file)
        var position = 0
        while position < total {
            let next = position + name(at: position).byteCount + 1
            if let mark = dialect.mark(name(at: position)) {
                let rank = dialect.rank(name(at: position))
                if try readValue(at: position, of: file) != nil {
                    marks.take(mark, lastValue.copied(), dialect, rank: rank)
                }
            } else if dialect.isForeignMark(name(at: position)) {
                marks.sawForeign = true
            }
            position = next
        }
        return marks
    }

    /// Reads the marks of a name in a directory, neither followed nor opened.
    mutating func marks(
        of name: borrowing NamePointer, in directory: borrowing OwnedDescriptor, dialect: WhiteoutDialect
    ) throws(SystemCallError) -> OverlayMarks {
        var marks = OverlayMarks()
        let total = try list(of: name, in: directory)
        var position = 0
        while position < total {
            let next = position + self.name(at: position).byteCount + 1
            if let mark = dialect.mark(self.name(at: position)) {
                let rank = dialect.rank(self.name(at: position))
                if try readValue(at: position, of: name, in: directory) != nil {
                    marks.take(mark, lastValue.copied(), dialect, rank: rank)
                }
            } else if dialect.isForeignMark(self.name(at: position)) {
                marks.sawForeign = true
            }
            position = next
        }
        return marks
    }
}
