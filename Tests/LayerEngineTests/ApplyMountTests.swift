import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// What is mounted inside of a root belongs to somebody else, whatever a layer deletes or brings.
@Suite struct ApplyMountTests {
    /// Ways of a layer to be rid of the directory `d`.
    enum Removal: String, CaseIterable, Sendable {
        case whiteout, opaqueAbove, file

        var pieces: [TarPiece] {
            switch self {
            case .whiteout: [W(".wh.d")]
            case .opaqueAbove: [W(".wh..wh..opq")]
            case .file: [F("d", "a file now")]
            }
        }
    }

    @Test(arguments: Removal.allCases, [false, true])
    func `a layer that removes a directory does not empty what is mounted in it`(
        _ removal: Removal, intoUpper: Bool
    ) throws {
        let scratch = try TemporaryDirectory()
        let volume = try scratch.directory("volume")
        try TreeBuilder.make(volume) { tree in
            try tree.file("kept", "k")
            try tree.directory("sub")
            try tree.file("sub/kept", "k")
        }
        let root = try scratch.directory("root")
        try TreeBuilder.make(root + "/d") { tree in
            for index in 0..<50 {
                try tree.directory("a\(index)")
                try tree.file("a\(index)/f", "f")
            }
            try tree.directory("m")
        }
        var options = ApplyOptions()
        if intoUpper {
            options.dialect = .overlay
            options.lowers = []
        }
        let mount = try Mount(binding: volume, at: root + "/d/m")
        let before = try TreeSnapshot(root)
        let error = #expect(throws: LayerError.self) { try apply(Tar.archive(removal.pieces), to: root, options) }
        #expect(error?.code == .inUse)
        #expect(error?.path == PathBytes(root + "/d/m"))
        #expect(error?.hint?.contains("unmount") == true)
        // It was found before anything was removed.
        #expect(try TreeSnapshot(root) == before)
        try mount.unmount()
        try apply(Tar.archive(removal.pieces), to: root, options)
        #expect(access(root + "/d/a1/f", F_OK) != 0)
        #expect(try TreeSnapshot(volume).paths == ["kept", "sub/", "sub/kept"])
    }

    /// Layers that delete or put something in what is mounted at `d/m`: at its root, and deeper.
    private static let inside: [[TarPiece]] = [
        [W("d/m/.wh..wh..opq")], [W("d/m/.wh.kept")], [W("d/m/.wh.sub")], [W("d/m/sub/.wh.kept")],
        [W("d/m/sub/.wh..wh..opq")], [F("d/m/sub", "a file now")], [F("d/m/new"), W("d/m/.wh..wh..opq")],
        // What the layer itself has put there keeps `d` and `m`, and only that.
        [F("d/m/sub/new"), W(".wh.d")], [F("d/m/sub/new"), W(".wh..wh..opq")],
        [F("d/m/kept", "other")], [F("d/m/sub/deep/new")], [D("d/m", 0o700)], [D("d/m/sub", 0o700)],
        [S("d/m/link", "x")],
        [F("own"), H("d/m/name", "own")], [H("d/m/name", "d/m/kept").with { $0.mode = 0o4755 }],
    ]

    @Test(arguments: inside.indices, [false, true])
    func `a layer changes nothing in what is mounted inside the root`(_ index: Int, nested: Bool) throws {
        let scratch = try TemporaryDirectory()
        let volume = try scratch.directory("volume")
        try TreeBuilder.make(volume) { tree in
            try tree.file("kept", "k")
            try tree.directory("sub")
            try tree.file("sub/kept", "k")
        }
        let root = try scratch.directory("root")
        let outer = try nested ? Mount.memory(at: root) : nil
        mkdir(root + "/d", 0o755)
        mkdir(root + "/d/m", 0o755)
        let mount = try Mount(binding: volume, at: root + "/d/m")
        let before = try TreeSnapshot(volume)
        let error = #expect(throws: LayerError.self) { try apply(Tar.archive(Self.inside[index]), to: root) }
        #expect(error?.code == .inUse && error?.path == PathBytes(root + "/d/m"), "\(String(describing: error))")
        #expect(try TreeSnapshot(volume) == before)
        try mount.unmount()
        try outer?.unmount()
    }

    @Test func `a mount several levels deep, or in a mount, is found before anything is removed`() throws {
        let scratch = try TemporaryDirectory()
        let (volume, inner) = (try scratch.directory("volume"), try scratch.directory("inner"))
        try TreeBuilder.make(volume) { try $0.directory("deep") }
        try TreeBuilder.make(inner) { try $0.file("kept", "k") }
        let root = try scratch.directory("root")
        try TreeBuilder.make(root) { tree in
            for name in ["a", "a/b", "a/b/c", "a/b/c/m"] { try tree.directory(name) }
            try tree.file("a/f", "f")
        }
        let mount = try Mount(binding: volume, at: root + "/a/b/c/m")
        let second = try Mount(binding: inner, at: root + "/a/b/c/m/deep")
        let before = try TreeSnapshot(root)
        for layer in [[W(".wh.a")], [W("a/.wh.b")], [W(".wh..wh..opq")], [F("a/b/c", "x")], [W("a/b/c/m/.wh.deep")]] {
            let error = #expect(throws: LayerError.self) { try apply(Tar.archive(layer), to: root) }
            #expect(error?.code == .inUse)
            #expect(try TreeSnapshot(root) == before)
        }
        try second.unmount()
        try mount.unmount()
    }

    @Test func `a mounted directory or file that a layer removes is named with the remedy`() throws {
        for name in ["d", "f"] {
            let scratch = try TemporaryDirectory()
            let root = try scratch.directory("root")
            let volume = try scratch.directory("volume")
            try writeFile(volume + "/kept", [1])
            try TreeBuilder.make(root) { tree in
                try tree.directory("d")
                try tree.file("f", "f")
            }
            let mount = try Mount(binding: name == "d" ? volume : volume + "/kept", at: root + "/" + name)
            let error = #expect(throws: LayerError.self) { try apply(Tar.archive([W(".wh.\(name)")]), to: root) }
            #expect(error?.code == .inUse)
            #expect(error?.path?.description.hasSuffix(name) == true)
            #expect(error?.hint?.contains("unmount") == true)
            #expect(try readFile(volume + "/kept") == [1])
            try mount.unmount()
        }
    }
}
