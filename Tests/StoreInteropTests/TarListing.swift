import TestSupport

/// The entries of a layer's tar as Python reads them: a third opinion beside ours and Go's. One line an entry with
/// name, kind, mode, owner, size, whole seconds of time, device, link, digest of the content, capability.
enum TarListing {
    private static let program = #"""
        import hashlib, io, sys, tarfile
        def text(value): return value.encode("utf-8", "surrogateescape").decode("latin-1").encode("unicode_escape").decode().replace(" ", "\\x20")
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
            for entry in archive:
                kind = {b"\0": "0"}.get(entry.type, entry.type.decode())
                content = archive.extractfile(entry).read() if entry.isreg() else b""
                capability = entry.pax_headers.get("SCHILY.xattr.security.capability", "")
                name = entry.name.rstrip("/")
                name = name[2:] if name.startswith("./") else name
                print(text(name), kind, oct(entry.mode & 0o7777), f"{entry.uid}:{entry.gid}", entry.size,
                      int(entry.mtime), f"{entry.devmajor}:{entry.devminor}" if entry.isdev() else "-",
                      text(entry.linkname) or "-", hashlib.sha256(content).hexdigest()[:16], text(capability) or "-")
        """#

    /// The lines in the archive's order.
    static func lines(_ archive: [UInt8]) throws -> [String] {
        let result = try runProgram(["/usr/bin/python3", "-c", program], input: archive)
        guard result.status == 0 else { throw TestFailure("python3 cannot read the archive: \(result.errors)") }
        return result.lines
    }

    /// The lines by their first word, the name.
    static func entries(_ archive: [UInt8]) throws -> [String: String] {
        var found: [String: String] = [:]
        for line in try lines(archive) {
            let parts = line.split(separator: " ", maxSplits: 1)
            guard parts.count == 2 else { throw TestFailure("a line of the listing: \(line)") }
            guard found.updateValue(line, forKey: String(parts[0])) == nil else {
                throw TestFailure("the archive names \(parts[0]) twice")
            }
        }
        return found
    }

    /// Nothing where both archives are the same bytes; otherwise what differs, short enough for a message.
    static func difference(_ ours: [UInt8], _ theirs: [UInt8]) throws -> [String] {
        if ours == theirs { return [] }
        let position = zip(ours, theirs).enumerated().first { $1.0 != $1.1 }?.offset ?? min(ours.count, theirs.count)
        let place = "byte \(position) of \(ours.count) and \(theirs.count)"
        return [place] + lineDifference(try lines(ours), try lines(theirs))
    }

    /// Nothing where both archives say the same about the same names, in whatever order.
    static func entryDifference(_ ours: [UInt8], _ theirs: [UInt8]) throws -> [String] {
        lineDifference(try entries(ours).values.sorted(), try entries(theirs).values.sorted())
    }

    static func lineDifference(_ ours: [String], _ theirs: [String]) -> [String] {
        let (left, right) = (Set(ours), Set(theirs))
        return
            (left.subtracting(right).sorted().map { "only ours: \($0)" }
            + right.subtracting(left).sorted().map { "only theirs: \($0)" }).prefix(20).map { String($0.prefix(300)) }
    }
}
