import TestSupport

/// The entries of a layer's tar as Python reads them: a third opinion beside ours and Go's. One line an entry with
/// name, kind, mode, owner, size, whole seconds of time, device, link, digest of the content, capability.
enum TarListing {
    private static let program = #"""
        import hashlib, sys, tarfile
        resolved = len(sys.argv) > 1
        def text(value):
            value = value.encode("utf-8", "surrogateescape").decode("latin-1")
            return value.encode("unicode_escape").decode().replace(" ", "\\x20") or "-"
        seen = {}
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
            for entry in archive:
                name = entry.name.rstrip("/")
                name = name[2:] if name.startswith("./") else name
                kind = "0" if entry.isreg() else entry.type.decode()
                content = archive.extractfile(entry).read() if entry.isreg() else b""
                capability = entry.pax_headers.get("SCHILY.xattr.security.capability", "")
                about = [kind, oct(entry.mode & 0o7777), f"{entry.uid}:{entry.gid}", entry.size, int(entry.mtime),
                         f"{entry.devmajor}:{entry.devminor}" if entry.isdev() and kind != "6" else "-",
                         text(entry.linkname), hashlib.sha256(content).hexdigest()[:16], text(capability)]
                if resolved:
                    if name.split("/")[-1].startswith(".wh."): about = ["whiteout"]
                    elif kind == "1": about = seen.get(entry.linkname.removeprefix("./"), ["link to nothing"])
                    elif kind == "5": about[4] = "-"
                    elif kind == "2": about[1] = "-"
                seen[name] = about
                print(text(name), *about)
        """#

    /// The lines in the archive's order.
    static func lines(_ archive: [UInt8], resolved: Bool = false) throws -> [String] {
        let result = try runProgram(
            ["/usr/bin/python3", "-c", program] + (resolved ? ["resolved"] : []), input: archive)
        guard result.status == 0 else { throw TestFailure("python3 cannot read the archive: \(result.errors)") }
        return result.lines
    }

    /// Nothing where both archives are the same bytes; otherwise what differs, short enough for a message.
    static func difference(_ ours: [UInt8], _ theirs: [UInt8]) throws -> [String] {
        if ours == theirs { return [] }
        let position = zip(ours, theirs).enumerated().first { $1.0 != $1.1 }?.offset ?? min(ours.count, theirs.count)
        let place = "byte \(position) of \(ours.count) and \(theirs.count)"
        return [place] + lineDifference(try lines(ours), try lines(theirs))
    }

    /// Nothing where both archives hold the same files, whatever their order.
    ///
    /// A hard link counts as the file that it names, since either may come first. Times of directories and what a whiteout's
    /// header says beside its name are left out: a store does not keep them. Ours may have directories that theirs only
    /// implies, and theirs no root.
    static func contentDifference(_ ours: [UInt8], _ theirs: [UInt8]) throws -> [String] {
        let (left, right) = (try lines(ours, resolved: true), try lines(theirs, resolved: true))
        let names = Set(right.map { $0.prefix { $0 != " " } })
        let kept = left.filter { line in
            let name = line.prefix { $0 != " " }
            return names.contains(name) || name != "." && !line.dropFirst(name.count).hasPrefix(" 5 0o")
        }
        return lineDifference(kept, right)
    }

    static func lineDifference(_ ours: [String], _ theirs: [String]) -> [String] {
        let (left, right) = (Set(ours), Set(theirs))
        return
            (left.subtracting(right).sorted().map { "only ours: \($0)" }
            + right.subtracting(left).sorted().map { "only theirs: \($0)" }).prefix(20).map { String($0.prefix(300)) }
    }
}
