import Glibc

/// A program that makes an archive of a tree, and what its archives can say.
struct Archiver: CustomStringConvertible {
    var description: String
    /// Seconds only.
    var wholeSeconds = false
    var attributes = Attributes.none
    /// The kinds whose further names it makes links of.
    var linked: [mode_t] = [S_IFREG]
    private var command: (String, String) -> [String]

    enum Attributes {
        case none
        /// Those that ldiff exports.
        case exported
        /// All that the file system gave, of which those with plain names are compared.
        case all
    }

    /// The reference, and ldiff itself; then the others.
    static func all(_ program: String) -> [Archiver] {
        let python = """
            import os, sys, tarfile
            form = tarfile.PAX_FORMAT if sys.argv[3] == "pax" else tarfile.GNU_FORMAT
            with tarfile.open(sys.argv[2], "w", format=form, encoding="utf-8", errors="surrogateescape") as archive:
                # Its times are floating point numbers, which hold no nanoseconds.
                def whole(member): member.mtime = int(member.mtime // 1); return member
                archive.add(sys.argv[1], arcname=".", filter=whole)
            """
        let all = [S_IFREG, S_IFLNK, S_IFIFO, S_IFCHR, S_IFBLK]
        let gnu = ["tar", "--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner"]
        return [
            Archiver(description: "ldiff", wholeSeconds: true, attributes: .exported, linked: all) {
                [program, "diff", $0, "-o", $1, "--quiet"]
            },
            Archiver(description: "GNU tar pax", attributes: .all, linked: [S_IFREG, S_IFLNK]) {
                gnu + ["--format=pax", "-C", $0, "-cf", $1, "."]
            },
            Archiver(description: "GNU tar pax sparse", attributes: .all, linked: [S_IFREG, S_IFLNK]) {
                gnu + ["--format=pax", "-S", "-C", $0, "-cf", $1, "."]
            },
            Archiver(description: "GNU tar pax sparse 0.1", attributes: .all, linked: [S_IFREG, S_IFLNK]) {
                gnu + ["--format=pax", "-S", "--sparse-version=0.1", "-C", $0, "-cf", $1, "."]
            },
            Archiver(description: "GNU tar pax sparse 0.0", attributes: .all, linked: [S_IFREG, S_IFLNK]) {
                gnu + ["--format=pax", "-S", "--sparse-version=0.0", "-C", $0, "-cf", $1, "."]
            },
            Archiver(description: "GNU tar gnu", wholeSeconds: true, linked: [S_IFREG, S_IFLNK]) {
                ["tar", "--format=gnu", "--numeric-owner", "-C", $0, "-cf", $1, "."]
            },
            Archiver(description: "GNU tar gnu sparse", wholeSeconds: true, linked: [S_IFREG, S_IFLNK]) {
                ["tar", "--format=gnu", "-S", "--numeric-owner", "-C", $0, "-cf", $1, "."]
            },
            // Without holes: libarchive 3.6.2 cuts a long name that is no UTF-8 in the record of a sparse file.
            Archiver(description: "bsdtar pax", attributes: .all, linked: [S_IFREG, S_IFLNK, S_IFIFO]) {
                ["bsdtar", "--format=pax", "--no-read-sparse", "--numeric-owner", "--xattrs", "--acls"]
                    + ["-C", $0, "-cf", $1, "."]
            },
            // Not bsdtar's format gnutar: libarchive 3.6.2 may write a long name and then not the entry that it belongs to, so that
            // every reader gives the name to the next one.
            Archiver(description: "Python pax", wholeSeconds: true) { ["python3", "-c", python, $0, $1, "pax"] },
            Archiver(description: "Python gnu", wholeSeconds: true) { ["python3", "-c", python, $0, $1, "gnu"] },
        ]
    }

    private init(
        description: String, wholeSeconds: Bool = false, attributes: Attributes = .none, linked: [mode_t] = [S_IFREG],
        _ command: @escaping (String, String) -> [String]
    ) {
        self.description = description
        self.wholeSeconds = wholeSeconds
        self.attributes = attributes
        self.linked = linked
        self.command = command
    }

    /// Makes the archive; what the program said where it could not.
    func make(_ tree: String, _ archive: String) throws -> String? {
        var run = Run(command(tree, archive))
        run.limit = 120
        run.environment = ["LC_ALL": "C.UTF-8"]
        let ending = try run()
        return ending.status == 0 ? nil : "\(ending)"
    }

    /// What the tree is once its archive is unpacked.
    func unpacked(_ source: TreeListing) -> TreeListing {
        source.mapped { path, entry in
            if entry.kind == S_IFSOCK { return false }
            if !linked.contains(entry.kind) { entry.first = path }
            if wholeSeconds { entry.nanoseconds = 0 }
            // Times before 1970 become 1970, as with Docker and containerd.
            if entry.seconds < 0 { (entry.seconds, entry.nanoseconds) = (0, 0) }
            entry.attributes = kept(entry)
            return true
        }
    }

    /// The attributes of an entry that are compared after an archive was unpacked.
    func kept(_ entry: TreeListing.Entry) -> [Name: Name] {
        var kept: [Name: Name] = [:]
        for (label, value) in entry.attributes {
            let isAccessControl = label.starts(with: "system.posix_acl_".name)
            let isPlain = label.allSatisfy { (0x61...0x7a).contains($0) || $0 == 0x2e || $0 == 0x5f }
            let isHidden = ["user.overlay.", "user.fuseoverlayfs.", "user.containers.override_"]
                .contains { label.starts(with: $0.name) }
            switch attributes {
            case .none: continue
            case .exported:
                guard isAccessControl || label == "security.capability".name || label.starts(with: "user.".name),
                    !isHidden, !label.contains(UInt8(ascii: "="))
                else { continue }
                // Written as revision 2.
                if label == "security.capability".name, value.count == 24, value[3] == 3 {
                    kept[label] = value[..<3] + [2] + value[4..<20]
                    continue
                }
            case .all:
                guard isAccessControl || (isPlain && label.starts(with: "user.".name) && !isHidden) else { continue }
            }
            kept[label] = value
        }
        return kept
    }
}
