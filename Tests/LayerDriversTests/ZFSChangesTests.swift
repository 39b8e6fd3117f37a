import Glibc
import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// Changes that `zfs diff` helps to find equal those of two full walks; the walk is what stands where it cannot help.
@Suite(.serialized) struct ZFSChangesTests {
    private struct Mutation: Sendable {
        var what: String
        /// Whether the list of `zfs diff` can be used.
        var isListed = true
        var change: @Sendable (TreeBuilder) throws -> Void
        var expected: [String]
    }

    @Sendable private static func removeA(_ tree: TreeBuilder) throws {
        for name in ["a/b/deep", "a/b/other", "a/b", "a/plain", "a/linked", "a"] { try tree.remove(name) }
    }

    private static let mutations: [Mutation] = [
        Mutation(what: "nothing", change: { _ in }, expected: []),
        Mutation(
            what: "contents", change: { try $0.write("a/b/deep", Array("DEEP".utf8)) },
            expected: ["C /a", "C /a/b", "C /a/b/deep"]),
        Mutation(
            what: "names of every kind",
            change: { tree in
                try tree.file("sp ace", "1")
                try tree.file("tab\tnew\nline", "1")
                try tree.file("back\\slash\\0040", "1")
                try tree.file("bad\\xff", "1")
            }, expected: []),
        Mutation(what: "removed", change: removeA, expected: ["D /a"]),
        Mutation(
            what: "a directory renamed",
            change: { tree in
                guard rename(tree.path("a/b"), tree.path("moved")) == 0 else { throw TestFailure("rename") }
                try tree.file("moved/added", "1")
            }, expected: ["C /a", "D /a/b", "A /moved", "A /moved/added", "A /moved/deep", "A /moved/other"]),
        Mutation(
            what: "mode and owner",
            change: { tree in
                try tree.mode("a", 0o700)
                try tree.owner("a/plain", 5, 6)
            }, expected: ["C /a", "C /a/plain"]),
        Mutation(
            what: "an attribute", change: { try $0.attribute("a/plain", "user.note", "new") },
            expected: ["C /a", "C /a/plain"]),
        Mutation(
            what: "a file with two names", isListed: false,
            change: { try $0.write("a/linked", Array("LINKED".utf8)) },
            expected: ["C /a", "C /a/linked", "C /z", "C /z/linked"]),
        Mutation(
            what: "a new file with two names",
            change: { tree in
                try tree.file("a/b/one", "1")
                try tree.link("z/two", to: "a/b/one")
            }, expected: ["C /a", "C /a/b", "A /a/b/one", "C /z", "A /z/two"]),
        Mutation(
            what: "one name of two removed", isListed: false, change: { try $0.remove("z/linked") },
            expected: ["C /z", "D /z/linked"]),
        Mutation(
            what: "a directory becomes a link to one",
            change: { tree in
                try removeA(tree)
                try tree.link(symbolic: "a", to: "z")
            }, expected: ["C /a"]),
    ]

    @Test func `changes, sizes and layers equal those of two walks`() throws {
        let store = try DriverStore(.zfs)
        try store.layer("base") { tree in
            for name in ["a", "a/b", "z"] { try tree.directory(name) }
            for name in ["a/plain", "a/b/deep", "a/b/other", "z/untouched"] { try tree.file(name, "deep") }
            try tree.file("a/linked", "linked")
            try tree.link("z/linked", to: "a/linked")
        }
        for (index, mutation) in Self.mutations.enumerated() {
            let id = "layer-\(index)"
            try store.layer(id, on: "base", mutation.change)
            let source = try store.driver.changeSource(of: LayerID(id), since: LayerID("base"))
            let listed = source.trees.changedInodes != nil
            _ = consume source
            #expect(
                listed == (mutation.isListed && ZFSPool.isKernel),
                "\(mutation.what): \(store.log.all.filter { $0.contains("comparing everything") }.last ?? "no word why")"
            )
            let found = try store.changes(id, since: "base")
            #expect(try found == store.comparedChanges(id, since: "base"), "\(mutation.what)")
            if !mutation.expected.isEmpty { #expect(found == mutation.expected, "\(mutation.what)") }
            let layer = try store.diff(id, since: "base")
            try store.create("copy", on: "base", readWrite: false)
            try store.apply(layer, to: "copy", onto: "base")
            try store.expectSame("copy", id)
            try store.remove("copy")
        }
        // A parent that was changed after its child was made has a list of its own.
        try store.build("base") { tree in
            try tree.file("later", "1")
            try tree.write("z/untouched", Array("touched".utf8))
            try tree.remove("a/plain")
        }
        let later = ["C /a", "A /a/plain", "D /later", "C /z", "C /z/untouched"]
        #expect(try store.changes("layer-0", since: "base") == later)
        #expect(try store.changes("layer-0", since: "base") == store.comparedChanges("layer-0", since: "base"))
        #expect(try store.changes("layer-1", since: "base").contains("D /later"))
        try store.finish()
    }

    /// The list of `zfs diff` is really what the walk follows: of three thousand files a few are looked at.
    @Test func `only what zfs diff lists is looked at, whoever reads or changes the parent meanwhile`() throws {
        guard ZFSPool.isKernel else { return }  // zfs-fuse has no zfs diff
        let store = try DriverStore(.zfs)
        try store.layer("base") { tree in
            for directory in 0..<30 {
                try tree.directory("d\(directory)")
                for index in 0..<100 { try tree.file("d\(directory)/f\(index)", "content") }
            }
        }
        try store.layer("top", on: "base") { tree in
            try tree.write("d3/f3", Array("changed".utf8))
            try tree.remove("d5/f5")
            try tree.file("d7/new", "new")
        }
        let expected = ["C /d3", "C /d3/f3", "C /d5", "D /d5/f5", "C /d7", "A /d7/new"]
        func looksFollowTheList(_ when: String) throws {
            var lines: [String] = []
            let report = try store.driver.changes(LayerID("top"), since: LayerID("base")) {
                kind, path throws(LayerError) in
                lines.append("\(String(UnicodeScalar(kind.letter))) \(escapedText(path.copied()))")
            }
            #expect(lines == expected, "\(when)")
            #expect(report.io.stats < 60, "\(when): \(report.io)")
        }
        try looksFollowTheList("at first")
        // Reading moves the times of access, and with them the parent away from its snapshot.
        try store.inside("base") { path throws in _ = try runProgram(["grep", "-rc", "nothing", path]) }
        try looksFollowTheList("after the parent was read")
        try store.inside("base") { path throws in
            try TreeBuilder(path).file("d9/passing", "passing")
            try TreeBuilder(path).remove("d9/passing")
            try looksFollowTheList("while the parent is mounted and was changed")
        }
        try store.inside("top") { path throws in
            try TreeBuilder(path).file("d9/passing", "passing")
            try TreeBuilder(path).remove("d9/passing")
            try looksFollowTheList("while the layer is mounted and was changed")
        }
        try store.finish()
    }

    @Test func `random trees`() throws {
        let store = try DriverStore(.zfs)
        for seed in 0..<(ZFSPool.isKernel ? 4 : 8) {
            var random = SeededNumbers(seed: UInt64(seed + 1))
            try store.layer("base-\(seed)") { tree in
                for index in 0..<8 { try tree.directory("d\(index)") }
                for index in 0..<60 {
                    try tree.file(
                        "d\(random.below(8))/f\(index)", bytes: randomContent(random.below(3000), seed: index))
                }
            }
            try store.layer("top-\(seed)", on: "base-\(seed)") { tree in
                for index in 0..<30 {
                    let directory = "d\(random.below(8))"
                    guard let name = directoryNames(tree.root + "/" + directory).randomElement() else { continue }
                    let path = directory + "/" + name
                    switch random.below(4) {
                    case 0: try tree.remove(path)
                    case 1: try tree.write(path, randomContent(random.below(3000), seed: index))
                    case 2: try tree.file(directory + "/new\(index)", "new")
                    default: rename(tree.path(path), tree.path("d\(random.below(8))/moved\(index)"))
                    }
                }
            }
            let changes = try store.changes("top-\(seed)", since: "base-\(seed)")
            #expect(try changes == store.comparedChanges("top-\(seed)", since: "base-\(seed)"))
            #expect(!changes.isEmpty)
        }
        try store.finish()
    }

    @Test func `a visible .zfs is no part of a layer`() throws {
        guard ZFSPool.isKernel else { return }  // zfs-fuse has no such directory
        let store = try DriverStore(.zfs)
        let root = try ZFSPool.dataset(of: store.ground)
        try store.createBase("base")
        try store.create("top", on: "base")
        for id in ["base", "top"] { try ZFSPool.zfs("set", "snapdir=visible", "\(root)/\(id)") }
        try store.inside("top") { path throws in
            #expect(try names(in: path).contains(".zfs"))
            #expect(try store.changes("top", since: "base") == [])
            #expect(try store.changes("top", since: nil) == ["A /a file", "A /a subdir"])
            #expect(try tarListing(store.diff("top", since: nil)).count == 2)
            #expect(try store.size("top", since: nil) == 9)
        }
        try store.finish()
    }
}
