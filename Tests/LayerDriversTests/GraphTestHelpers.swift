import Glibc
import TestSupport
import Testing

/// The helpers of Docker's graphtest, in its shapes and numbers.
extension DriverStore {
    /// A base layer with a sticky directory and a set-user-id file.
    func createBase(_ id: String) throws {
        try create(id)
        try build(id) { tree in
            try tree.directory("a subdir", 0o1705, uid: 1, gid: 2)
            try tree.file("a file", "Some data", 0o4222)
        }
    }

    func verifyBase(_ id: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
        try inside(id) { path throws in
            let directory = status(path + "/a subdir")
            #expect(directory == (S_IFDIR | 0o1705, 1, 2), sourceLocation: sourceLocation)
            let file = status(path + "/a file")
            #expect(file == (S_IFREG | 0o4222, 0, 0), sourceLocation: sourceLocation)
            #expect(try names(in: path) == ["a file", "a subdir"], sourceLocation: sourceLocation)
            #expect(try readFile(path + "/a file") == Array("Some data".utf8), sourceLocation: sourceLocation)
        }
    }

    /// `directory-<i>` for every hundred files, `file-<k>` of 64 random bytes.
    func addManyFiles(_ id: String, _ count: Int, seed: Int) throws {
        try build(id) { tree in
            for index in 0..<count {
                let directory = "directory-\(index / 100 * 100)"
                if index % 100 == 0 { try tree.directory(directory) }
                try tree.write("\(directory)/file-\(index)", randomContent(64, seed: seed + index))
                try tree.mode("\(directory)/file-\(index)", 0o755)
            }
        }
    }

    /// Rewrites, adds and removes every third file; returns the changes that this makes, sorted by path.
    func changeManyFiles(_ id: String, _ count: Int, seed: Int) throws -> [String] {
        var changes: [(kind: String, path: String)] = []
        try build(id) { tree in
            for index in 0..<count {
                let directory = "directory-\(index / 100 * 100)"
                let place = index % 100
                if place == 0 { changes.append(("C", "/\(directory)")) }
                let name = "\(directory)/file-\(index)"
                let added = "\(directory)/file-\(seed)-\(index)"
                switch place % 3 {
                case 0:
                    try tree.write(name, randomContent(64, seed: seed + index))
                    changes.append(("C", "/\(name)"))
                case 1:
                    try tree.write(added, randomContent(64, seed: seed + index))
                    try tree.mode(added, 0o755)
                    changes.append(("A", "/\(added)"))
                default:
                    try tree.remove(name)
                    changes.append(("D", "/\(name)"))
                }
            }
        }
        return sortedByPath(changes.map { "\($0.kind) \($0.path)" })
    }

    /// Expects the files of `addManyFiles` with the contents of this seed.
    func checkManyFiles(_ id: String, _ count: Int, seed: Int, sourceLocation: SourceLocation = #_sourceLocation) throws
    {
        try inside(id) { path throws in
            for index in 0..<count {
                let file = "\(path)/directory-\(index / 100 * 100)/file-\(index)"
                #expect(try readFile(file) == randomContent(64, seed: seed + index), sourceLocation: sourceLocation)
            }
        }
    }

    /// Puts `count` layers on each other; each names itself and the one below. Returns the uppermost's id.
    func addManyLayers(on base: String, _ count: Int) throws -> String {
        var below = base
        for level in 1...count {
            let id = "layer-id-\(level)"
            try layer(id, on: below) { tree in
                try tree.file("top-id", id)
                try tree.directory("layer-\(level)")
                try tree.file("layer-\(level)/layer-id", id)
                try tree.file("layer-\(level)/parent-id", below)
            }
            below = id
        }
        return below
    }

    /// Follows the chain downwards.
    func checkManyLayers(_ top: String, _ count: Int, sourceLocation: SourceLocation = #_sourceLocation) throws {
        try inside(top) { path in
            #expect(try fileText(path + "/top-id") == top, sourceLocation: sourceLocation)
            var expected = top
            for level in (1...count).reversed() {
                let directory = "\(path)/layer-\(level)"
                #expect(try fileText(directory + "/layer-id") == expected, sourceLocation: sourceLocation)
                expected = try fileText(directory + "/parent-id")
            }
        }
    }
}

/// The same bytes for the same seed.
func randomContent(_ count: Int, seed: Int) -> [UInt8] {
    var random = SeededNumbers(seed: UInt64(seed))
    return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next() >> 24) }
}

func fileText(_ path: String) throws -> String { String(decoding: try readFile(path), as: UTF8.self) }

/// Lines `K /path` by the bytes of the path, as a driver lists them.
func sortedByPath(_ lines: [String]) -> [String] {
    lines.sorted { Array($0.utf8.dropFirst(2)).lexicographicallyPrecedes(Array($1.utf8.dropFirst(2))) }
}
