import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// Names, sockets and attributes of a tree that a layer has no place for.
@Suite struct ReservedNameTests {
    private func stack(_ make: (TreeBuilder) throws -> Void) throws -> (TemporaryDirectory, SourceOptions) {
        let scratch = try TemporaryDirectory()
        try TreeBuilder.make(scratch.path + "/lower") { tree in
            try tree.directory("sbin")
            try tree.directory("d")
            try tree.file("d/f", "f")
            try tree.directory("d/sub")
            try tree.file("d/sub/x", "x")
        }
        try TreeBuilder.make(scratch.path + "/upper", make)
        return (scratch, source(scratch.path + "/upper", lowers: [scratch.path + "/lower"], .overlay, workers: 1))
    }

    private static func marked(_ tree: TreeBuilder) throws {
        try tree.file(".wh.sbin", "a user's own")
        try tree.directory(".wh.d")
        try tree.file(".wh.d/inside")
        try tree.file("own")
    }

    @Test(arguments: LayerProfile.allCases)
    func `a user's file called .wh.sbin deletes nothing, and is no addition`(_ profile: LayerProfile) throws {
        let (scratch, upper) = try stack(Self.marked)
        var whole = source(upper.upper.description, workers: 1)
        whole.dialect = .tree
        for source in [upper, whole] {
            let (bytes, report) = try layerAndReport(source, profile)
            let kept = try texts(bytes)
            #expect(kept.contains("F own") && (kept == ["F own"]) == (profile == .full), "\(kept)")
            #expect(report.reservedNames == 2 && report.warnings.contains { $0.contains(".wh.sbin") })
            #expect(throws: LayerError.self) { _ = try layer(source, profile) { $0.reservedNames = .fail } }
        }
        #expect(try changes(upper, profile) == ["A /own"])
        _ = scratch
    }

    @Test(arguments: LayerProfile.allCases)
    func `a device 0 0 in a tree in which it means nothing deletes nothing, unless it replaced something`(
        _ profile: LayerProfile
    ) throws {
        let scratch = try TemporaryDirectory()
        for name in ["lower", "tree"] {
            try TreeBuilder.make(scratch.path + "/" + name) { tree in
                try tree.directory("d")
                try tree.file("kept", "k")
                if name == "lower" { return try tree.file("d/replaced", "r") }
                try tree.whiteout("sbin")
                try tree.whiteout("d/replaced")
                try tree.character("null", 1, 3)
            }
        }
        let (lower, tree) = (scratch.path + "/lower", scratch.path + "/tree")
        let alone = source(tree, workers: 1)
        let (bytes, report) = try layerAndReport(alone, profile)
        #expect(report.reservedNames == 2 && report.warnings.contains { $0.contains("0:0") && $0.contains("sbin") })
        let keeps = profile != .full
        #expect(try texts(bytes).contains("C sbin 0:0") == keeps && texts(bytes).contains("C null 1:3"))
        #expect(throws: LayerError.self) { _ = try layer(alone, profile) { $0.reservedNames = .fail } }
        // What it replaced does not come back.
        for dialect in [WhiteoutDialect.tree, .aufs] {
            let compared = source(tree, lowers: [lower], dialect, workers: 1)
            let kept = try texts(layer(compared, profile))
            #expect(kept.contains("C sbin 0:0") == keeps && kept.contains("C null 1:3"), "\(dialect.name): \(kept)")
            #expect(kept.contains(keeps ? "C d/replaced 0:0" : "W d/.wh.replaced"), "\(dialect.name): \(kept)")
        }
    }

    @Test func `a deleted name .wh..opq does not become the mark of an opaque directory`() throws {
        let scratch = try TemporaryDirectory()
        try TreeBuilder.make(scratch.path + "/old") { tree in
            try tree.file(".wh..opq")
            try tree.file("kept")
        }
        try TreeBuilder.make(scratch.path + "/new") { try $0.file("kept") }
        #expect(try texts(layer(source(scratch.path + "/new", lowers: [scratch.path + "/old"]))).isEmpty)
    }

    @Test(arguments: LayerProfile.allCases)
    func `a socket that replaced something does not bring it back`(_ profile: LayerProfile) throws {
        let (scratch, upper) = try stack { tree in
            try tree.directory("d")
            try tree.socket("d/f")
            try tree.socket("d/sub")
            try tree.socket("d/new")
        }
        let (bytes, report) = try layerAndReport(upper, profile)
        #expect(try texts(bytes).filter { $0.hasPrefix("W") } == ["W d/.wh.f", "W d/.wh.sub"])
        #expect(report.skippedSockets == 3)
        try unpack(bytes, to: scratch.path + "/lower")
        #expect(try TreeSnapshot(scratch.path + "/lower", ignoring: .root).paths == ["d/", "sbin/"])
    }

    @Test func `no file is a hard link to a whiteout file of aufs`() throws {
        let scratch = try TemporaryDirectory()
        try TreeBuilder.make(scratch.path + "/upper") { tree in
            try tree.file(".wh.a")
            try tree.link(".wh.b", to: ".wh.a")
            try tree.link("file", to: ".wh.a")
        }
        let branch = source(scratch.path + "/upper", .aufs)
        #expect(try texts(layer(branch)) == ["W .wh.a", "W .wh.b", "F file"])
        #expect(try texts(layer(branch, .moby)) == ["W .wh.a", "H .wh.b=>.wh.a", "F file"])
    }

    @Test(arguments: LayerProfile.allCases)
    func `no hard link leads to a name that means a deletion`(_ profile: LayerProfile) throws {
        let (scratch, upper) = try stack { tree in
            try tree.directory(".wh.s")
            try tree.file(".wh.s/.wh.s", "one")
            try tree.file(".wh.s/f", "two")
            try tree.file(".wh.a", "three")
            for (name, first) in [("x1", ".wh.s/.wh.s"), ("x2", ".wh.s/f"), ("x3", ".wh.a")] {
                try tree.link(name, to: first)
                try tree.link(name + "more", to: first)
            }
        }
        for dialect in [WhiteoutDialect.overlay, .tree, .aufs] {
            let tree = source(upper.upper.description, dialect, workers: 1)
            let kept = try texts(layer(tree, profile)).filter { !$0.contains(" .wh.") }
            #expect(
                kept == ["F x1", "H x1more=>x1", "F x2", "H x2more=>x2", "F x3", "H x3more=>x3"], "\(dialect.name)")
        }
        _ = scratch
    }

    @Test func `one attribute that no layer can hold is left out, and stops nothing`() throws {
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        try TreeBuilder.make(memory.path + "/t") { tree in
            try tree.file("f", "x")
            try tree.attribute("f", "user.a=b", "1")
            try tree.attribute("f", "user.kept", "2")
            try tree.file("many")
            for index in 0..<20 {
                try tree.attribute("many", "user.\(index)", [UInt8](repeating: 0x61, count: 60_000 + index))
            }
        }
        let (bytes, report) = try layerAndReport(source(memory.path + "/t"))
        let entries = try listed(bytes)
        #expect(
            entries.map(\.text) == ["F f", "F many"] && entries[0].records.map(\.key) == ["SCHILY.xattr.user.kept"])
        #expect(entries[1].records.count == 17 && entries[1].record("SCHILY.xattr.user.19") == nil)
        #expect(report.warnings.contains { $0.contains("user.a=b") && $0.contains(" f:") })
        #expect(report.warnings.contains { $0.contains("user.19") && $0.contains(" many:") })
    }

    /// Gives a file more names of attributes than the kernel lists.
    private func fill(_ tree: TreeBuilder, _ name: String) throws {
        for index in 0..<280 {
            try tree.attribute(name, "user.\(String(repeating: "n", count: 240))\(index)", "v")
        }
    }

    @Test(arguments: LayerProfile.allCases)
    func `a file with more attributes than the kernel lists keeps its capability, and stops nothing`(
        _ profile: LayerProfile
    ) throws {
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        for path in ["/old", "/new"] {
            try TreeBuilder.make(memory.path + path) { tree in
                try tree.file("many", path)
                try tree.file("empty")
                try tree.directory("d")
                try tree.file("d/f")
                for name in ["many", "empty", "d"] { try fill(tree, name) }
                try tree.attribute("many", "security.capability", capability(revision: 2))
            }
        }
        let (bytes, report) = try layerAndReport(source(memory.path + "/new"), profile)
        #expect(try texts(bytes).sorted() == ["D d/", "F d/f", "F empty", "F many"])
        let many = try #require(try listed(bytes).first { $0.text == "F many" })
        let attributes = many.records.map(\.key).filter { $0.hasPrefix("SCHILY.xattr.") }
        #expect(attributes == ["SCHILY.xattr.security.capability"])
        let warnings = report.warnings.filter { $0.contains("64 KiB") }
        #expect(warnings.count == (profile == .full || profile == .cstorage ? 3 : 0), "\(warnings)")
        let trees = source(memory.path + "/new", lowers: [memory.path + "/old"])
        #expect(try changes(trees, profile, contentCheck: true) == ["C /many"])
        _ = try layer(trees, profile)
    }

    @Test func `a directory with more attributes than the kernel lists is opaque all the same`() throws {
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        try TreeBuilder.make(memory.path + "/lower") { tree in
            try tree.directory("d")
            try tree.file("d/hidden")
        }
        try TreeBuilder.make(memory.path + "/upper") { tree in
            try tree.directory("d")
            try fill(tree, "d")
            try tree.attribute("d", "trusted.overlay.opaque", "y")
        }
        let upper = source(memory.path + "/upper", lowers: [memory.path + "/lower"], .overlay)
        #expect(try changes(upper).contains("D /d/hidden"))
        #expect(try texts(layer(upper)) == ["D d/", "W d/.wh..wh..opq"])
    }
}
