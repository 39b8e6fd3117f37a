import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// Upper directories of mounts with an index, which have only some of a file's names.
@Suite struct IndexedUpperTests {
    private static func stack(index: Bool, _ change: (TreeBuilder) throws -> Void) throws -> TemporaryDirectory {
        let scratch = try TemporaryDirectory()
        try TreeBuilder.make(scratch.path + "/lower") { tree in
            try tree.directory("d")
            for (name, more) in [("a", ["b", "d/c"]), ("e", ["f"]), ("g", [])] {
                try tree.file(name, "of \(name)")
                for other in more { try tree.link(other, to: name) }
            }
        }
        let mount = try Mount.overlay(
            OverlayOptions(index: index), lowers: [scratch.path + "/lower"], upper: scratch.path + "/upper",
            work: scratch.path + "/work", at: try scratch.directory("merged"))
        try change(try TreeBuilder(mount.path))
        try mount.unmount()
        return scratch
    }

    /// How many files each way of looking at the upper directory counts, and what it says of them.
    private static func found(_ scratch: borrowing TemporaryDirectory) throws -> [(count: Int, warnings: [String])] {
        let place = scratch.path
        var found: [(count: Int, warnings: [String])] = []
        for workers in [1, 4] {
            for lowers in [[], [place + "/lower"]] {
                for profile in [LayerProfile.full, .moby, .containerd] {
                    let upper = source(place + "/upper", lowers: lowers, .overlay, workers: workers)
                    let report = try layerAndReport(upper, profile).1
                    found.append((report.indexedFiles, report.warnings.filter { $0.contains("index=on") }))
                }
            }
            let upper = source(place + "/upper", lowers: [place + "/lower"], .overlay, workers: workers)
            let listed = try DiffEngine.changes(upper) { (_, _) throws(LayerError) in }
            found.append((listed.indexedFiles, listed.warnings.filter { $0.contains("index=on") }))
        }
        return found
    }

    @Test func `names that an index leaves in lower directories are warned of once`() throws {
        let scratch = try Self.stack(index: true) { tree in
            for name in ["e", "a", "g"] { try tree.write(name, Array("changed".utf8)) }
        }
        for result in try Self.found(scratch) {
            #expect(result.count == 2 && result.warnings.count == 1)
            let warning = try #require(result.warnings.first)
            #expect(warning.contains("/a, and 1 more such files"), "\(warning)")
            #expect(warning.contains("under 2 more names"), "\(warning)")
        }
    }

    @Test(arguments: [false, true])
    func `an upper directory that has all names of its files is not warned of`(index: Bool) throws {
        let scratch = try Self.stack(index: index) { tree in
            for name in ["a", "b", "d/c", "e"] { try tree.write(name, Array("changed".utf8)) }
            try tree.remove("f")
            try tree.link("new", to: "a")
        }
        for result in try Self.found(scratch) { #expect(result.count == 0 && result.warnings.isEmpty) }
    }
}
