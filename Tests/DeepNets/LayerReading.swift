import Glibc

extension TreeListing {
    /// What a tree becomes when an archive's entries are put over it, one after the other: the plain rules of layers, for
    /// comparing with what a kernel shows. Attributes are those of the archive.
    mutating func put(_ archive: Archive) throws {
        var own: Set<Name> = []
        let slash = UInt8(ascii: "/")
        for item in archive.entries {
            let path = item.path
            let parts = path.split(separator: slash).map { Name($0) }
            guard let last = parts.last else { continue }
            let parent = Name(parts.dropLast().joined(separator: [slash]))
            if last == ".wh..wh..opq".name {
                for below in entries.keys where below.starts(with: parent + [slash]) && !own.contains(below) {
                    entries[below] = nil
                }
                continue
            }
            if last.starts(with: ".wh.".name) {
                let gone = (parent.isEmpty ? [] : parent + [slash]) + last.dropFirst(4)
                if !own.contains(gone) { remove(gone) }
                continue
            }
            own.insert(path)
            if item.type == UInt8(ascii: "1") {
                guard var target = entries[item.linkName] else {
                    throw Archive.Malformed("links \(shown(path)) to \(shown(item.linkName)), which is not there")
                }
                remove(path)
                target.first = path
                entries[path] = target
                continue
            }
            let entry = Self.entry(item, archive)
            if entry.kind != S_IFDIR || entries[path]?.kind != S_IFDIR { remove(path) }
            entries[path] = entry
        }
    }

    private mutating func remove(_ path: Name) {
        entries[path] = nil
        for below in entries.keys where below.starts(with: path + [UInt8(ascii: "/")]) { entries[below] = nil }
    }

    private static func entry(_ item: ArchiveEntry, _ archive: Archive) -> Entry {
        var entry = Entry()
        switch item.type {
        case UInt8(ascii: "0"): entry.kind = S_IFREG
        case UInt8(ascii: "2"): entry.kind = S_IFLNK
        case UInt8(ascii: "3"): entry.kind = S_IFCHR
        case UInt8(ascii: "4"): entry.kind = S_IFBLK
        case UInt8(ascii: "5"): entry.kind = S_IFDIR
        default: entry.kind = S_IFIFO
        }
        entry.mode = mode_t(item.mode & 0o7777)
        (entry.uid, entry.gid) = (uid_t(item.uid), gid_t(item.gid))
        entry.seconds = item.mtime
        if entry.kind == S_IFCHR || entry.kind == S_IFBLK { entry.device = dev_t(item.major << 8 | item.minor) }
        entry.link = item.linkName
        if entry.kind == S_IFREG {
            entry.size = item.body.count
            entry.sum = sum(archive.body(item))
        }
        entry.attributes = item.attributes
        entry.first = item.path
        return entry
    }
}
