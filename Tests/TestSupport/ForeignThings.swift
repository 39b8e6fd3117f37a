import Glibc

/// What others keep in a directory that a daemon uses: files, directories, links, names like the daemon's own, a mount. Whatever
/// the daemon does, none of it changes.
package final class ForeignThings {
    /// What lies in each of the directories.
    package let names: Set<String> = [
        "photos", "901", "902", "903", "904", "ldiff-new-0123456789abcdef", "0123", "notes.txt", "dangling",
    ]
    private let places: [String]
    private var before: [String] = []
    private var mounted: [String] = []

    /// Puts them into each of these directories, and a file system over one in the first.
    package init(in places: [String]) throws {
        self.places = places
        for place in places {
            try TreeBuilder.make(place) { tree in
                // 901 is a number, as our own names are; what is in it is not ours.
                for name in ["photos", "901", "ldiff-new-0123456789abcdef", "0123"] {
                    try tree.directory(name, 0o755)
                    try tree.file("\(name)/letter", "dear \(name)")
                }
                try tree.directory("902")
                try tree.directory("902/fs")
                try tree.file("902/fs/letter", "theirs")
                try tree.file("902/notes", "theirs")
                try tree.file("903", "a file")
                try tree.file("notes.txt", "notes")
                try tree.link(symbolic: "904", to: "/etc")
                try tree.link(symbolic: "dangling", to: "../gone")
            }
        }
        let target = places[0] + "/photos/stick"
        mkdir(target, 0o755)
        guard mount("tmpfs", target, "tmpfs", 0, nil) == 0 else { throw TestFailure.call("mount tmpfs", target) }
        mounted.append(target)
        try writeFile(target + "/file", Array("in memory".utf8))
        before = try record()
    }

    private func record() throws -> [String] {
        var lines: [String] = []
        for place in places {
            for name in names.sorted() {
                let found = try runProgram(
                    ["find", "\(place)/\(name)", "-printf", "%p %y %i %m %U %G %l %s %T@ %C@\\n"])
                lines += found.lines + (found.status == 0 ? [] : ["\(place)/\(name): \(found.errors)"])
            }
        }
        return lines
    }

    /// The lines of the recording that differ from the first one.
    package func changes() throws -> [String] {
        let now = try record()
        return before.filter { !now.contains($0) }.map { "was: \($0)" }
            + now.filter { !before.contains($0) }.map { "is: \($0)" }
    }

    package func leave() {
        for target in mounted { umount2(target, Int32(MNT_DETACH)) }
        mounted = []
    }

    deinit { leave() }
}
