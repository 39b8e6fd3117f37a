import TestSupport
import Testing

/// Expects that two things do not differ; the message says where they do.
func expectNone(_ differences: [String], _ about: String, sourceLocation: SourceLocation = #_sourceLocation) {
    if differences.isEmpty { return }
    let shown = differences.prefix(12).map { String($0.prefix(400)) }.joined(separator: "\n")
    Issue.record("\(about): \(differences.count) differences\n\(shown)", sourceLocation: sourceLocation)
}

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
    /// A hard link counts as the file that it names, since either may come first. Times of directories, what a whiteout's
    /// header says beside its name, and the root are left out: not every store keeps them. Ours may have directories that
    /// theirs only implies.
    static func contentDifference(_ ours: [UInt8], _ theirs: [UInt8]) throws -> [String] {
        let (left, right) = (try lines(ours, resolved: true), try lines(theirs, resolved: true))
        let names = Set(right.map { $0.prefix { $0 != " " } })
        let kept = left.filter { line in
            let name = line.prefix { $0 != " " }
            return names.contains(name) || !line.dropFirst(name.count).hasPrefix(" 5 0o")
        }
        return lineDifference(kept.filter { !$0.hasPrefix(". ") }, right.filter { !$0.hasPrefix(". ") })
    }

    /// The archive with time 0 on whiteouts. Docker's own driver does not keep it: each time it unpacks a layer it makes new
    /// devices for them.
    static func withoutWhiteoutTimes(_ archive: [UInt8]) -> [UInt8] {
        var result = archive
        var position = 0
        while position + 512 <= result.count {
            var block = Array(result[position..<position + 512])
            let name = block[0..<100].prefix { $0 != 0 }.split(separator: UInt8(ascii: "/")).last ?? []
            let size = Int(String(decoding: block[124..<135], as: UTF8.self), radix: 8) ?? 0
            if name.starts(with: Array(".wh.".utf8)) {
                block.replaceSubrange(136..<147, with: [UInt8](repeating: UInt8(ascii: "0"), count: 11))
                Tar.seal(&block)
                result.replaceSubrange(position..<position + 512, with: block)
            }
            position += 512 + (size + 511) / 512 * 512
        }
        return result
    }

    static func lineDifference(_ ours: [String], _ theirs: [String]) -> [String] {
        let (left, right) = (Set(ours), Set(theirs))
        return
            (left.subtracting(right).sorted().map { "only ours: \($0)" }
            + right.subtracting(left).sorted().map { "only theirs: \($0)" }).prefix(20).map { String($0.prefix(300)) }
    }
}
