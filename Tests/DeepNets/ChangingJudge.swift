import Glibc

/// Judges an archive of a tree that changed meanwhile: each file in it must be a state that this file really had.
struct ChangingJudge {
    let tree: ChangingTree
    let deviceMinor: Int
    /// What the archives held: for each path the states and kinds that were seen.
    private(set) var seen: [String: Set<String>] = [:]

    init(_ tree: ChangingTree, _ device: LoopDevice) {
        self.tree = tree
        deviceMinor = Int(device.number.split(separator: ":")[1]) ?? -1
    }

    /// Paths that were seen in more than one state.
    var changed: Int { seen.values.count { $0.count > 1 } }

    /// What is wrong with the archive, one line each.
    mutating func judge(_ path: String) throws -> [String] {
        let archive: Archive
        do { archive = try Archive(path) } catch let error as Archive.Malformed { return ["the archive \(error)"] }
        var wrong: [String] = []
        for marker in [ChangingTree.outsideMarker, ChangingTree.deviceMarker] where archive.contains(marker) {
            wrong.append("the archive holds \(shown(marker)), which is not in the tree")
        }
        var files: [Name: Int] = [:]
        for entry in archive.entries {
            let words = entry.path.split(separator: UInt8(ascii: "/")).map { String(decoding: $0, as: UTF8.self) }
            let (what, problem) = judge(entry, words, archive, &files)
            if let problem { wrong.append("\(shown(entry.name)) \(problem)") }
            seen[words.joined(separator: "/"), default: []].insert(what)
        }
        return wrong
    }

    private func judge(_ entry: ArchiveEntry, _ words: [String], _ archive: Archive, _ files: inout [Name: Int])
        -> (what: String, wrong: String?)
    {
        guard let last = words.last else { return ("", "has no name") }
        // A deletion, in a comparison with the tree as it was.
        if last.hasPrefix(".wh.") { return ("deleted", entry.body.isEmpty ? nil : "is a deletion with a body") }
        switch entry.type {
        case UInt8(ascii: "0"):
            guard let file = file(words) else { return ("file", "is no name of a file") }
            let (state, wrong) = body(entry, file, words[0], archive)
            if wrong == nil { files[entry.name] = file }
            return ("state \(state)", wrong)
        case UInt8(ascii: "1"):
            guard words[0] == "l", files[entry.linkName] == file(words) else {
                return (
                    "link", "is a link to \(shown(entry.linkName)), which is not the same file earlier in the archive"
                )
            }
            return ("link", nil)
        default: return (String(UnicodeScalar(entry.type)), other(entry, words))
        }
    }

    /// A name that is no file at the moment.
    private func other(_ entry: ArchiveEntry, _ words: [String]) -> String? {
        if !entry.body.isEmpty { return "has no contents by its kind, and a body of \(entry.body.count) bytes" }
        switch (entry.type, words[0], words.count) {
        case (UInt8(ascii: "5"), _, 1), (UInt8(ascii: "5"), "x", 2), (UInt8(ascii: "5"), "d", 2),
            (UInt8(ascii: "5"), "e", 2):
            return nil
        case (UInt8(ascii: "4"), "x", 2):
            return entry.major == 7 && entry.minor == deviceMinor ? nil : "is another device"
        case (UInt8(ascii: "6"), "x", 2): return nil
        case (UInt8(ascii: "2"), "x", 2):
            return entry.linkName == "\(tree.outside)/secret".name ? nil : "leads to \(shown(entry.linkName))"
        case (UInt8(ascii: "2"), "d", 2), (UInt8(ascii: "2"), "e", 2):
            return entry.linkName == "\(tree.outside)/\(words[1])".name ? nil : "leads to \(shown(entry.linkName))"
        default: return "is of the kind \(UnicodeScalar(entry.type)), which it never was"
        }
    }

    /// The file that a name means.
    private func file(_ words: [String]) -> Int? {
        guard words.count >= 2, let kind = ChangingTree.Kind(rawValue: words[0] == "e" ? "d" : words[0]),
            let number = Int(words[1].split(separator: "-")[0])
        else { return nil }
        switch (kind, words.count) {
        case (.directory, 3): return Int(words[2]).map { kind.first + number + $0 * 100 }
        case (.exchanged, 3): return words[2] == "inner" ? ChangingTree.innerFirst + number : nil
        case (.directory, _): return nil
        case (_, 2): return kind.first + number
        default: return nil
        }
    }

    private func body(_ entry: ArchiveEntry, _ file: Int, _ kind: String, _ archive: Archive) -> (Int, String?) {
        let body = archive.body(entry)
        switch kind {
        case "g": return Records.judge(body, file: file, .anyState)
        case "s", "h":
            let found = Records.judge(body, file: file, .withHoles) { ChangingTree.data(file, $0) }
            guard found.wrong == nil, !body.isEmpty else { return found }
            let size = ChangingTree.sparseSize(file, found.state)
            return body.count == size
                ? found : (found.state, "has \(body.count) bytes, state \(found.state) has \(size)")
        default:
            // The file that changes places with this one has a number of its own.
            let isOther = kind == "x" && Records.read(body)?.file == ChangingTree.otherFirst + file % 10_000
            let number = isOther ? ChangingTree.otherFirst + file % 10_000 : file
            let (state, wrong) = Records.judge(body, file: number, .oneState)
            if let wrong { return (state, wrong) }
            let size = ChangingTree.size(number, state)
            if body.count != size { return (state, "has \(body.count) bytes, state \(state) has \(size)") }
            let time = entry.mtime - ChangingTree.timeOfState
            return (state, time == state ? nil : "has the header of state \(time) and the contents of state \(state)")
        }
    }
}
