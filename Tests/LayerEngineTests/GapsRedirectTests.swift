import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// Layers applied over lower directories that a kernel overlay with redirects and metadata-only copies has made.
@Suite struct GapsRedirectTests {
    /// Two lower directories, the nearer one written through an overlay mount by `change`; then a layer over both.
    /// Returns what a container sees.
    private func view(
        _ base: [TarPiece], change: (TreeBuilder) throws -> Void, layer: [TarPiece]
    ) throws -> TreeSnapshot {
        let scratch = try TemporaryDirectory()
        // No file system of its own: an upper directory may not lie in an overlay, and /var/tmp might.
        let memory = try Mount.memory(at: scratch.path + "/m")
        let place = memory.path
        let options = OverlayOptions(redirectDirectories: true, metacopy: true)
        let (bottom, middle, upper) = (place + "/bottom", place + "/middle", place + "/upper")
        for directory in [bottom, upper] { mkdir(directory, 0o755) }
        try apply(Tar.archive(base), to: bottom)
        let writable = try Mount.overlay(
            options, lowers: [bottom], upper: middle, work: place + "/work", at: place + "/writable")
        try change(TreeBuilder(writable.path))
        try writable.unmount()
        var apply = ApplyOptions()
        apply.dialect = .overlay
        apply.lowers = [PathBytes(middle), PathBytes(bottom)]
        try LayerEngineTests.apply(Tar.archive(layer), to: upper, apply)
        let merged = try Mount.overlay(options, lowers: [upper, middle, bottom], at: place + "/merged")
        let result = try TreeSnapshot(merged.path, ignoring: [.root, .overlayAttributes])
        try merged.unmount()
        try memory.unmount()
        return result
    }

    private static func move(_ tree: TreeBuilder, _ old: String, _ new: String) throws {
        guard rename(tree.path(old), tree.path(new)) == 0 else { throw SystemCallError("rename", errno: errno) }
    }

    @Test func `T096 T060 implied parents below a renamed directory keep what they had`() throws {
        let result = try view(
            [
                D("old"), D("old/sub", 0o2750).ids(0, 8).xattr("user.x", "1").time(5000), F("old/sub/a", "a"),
                D("other"),
            ],
            change: { try Self.move($0, "old", "new") },
            layer: [F("new/sub/b", "b")])
        #expect(result.paths == ["new/", "new/sub/", "new/sub/a", "new/sub/b", "other/"])
        let sub = try #require(result["new/sub"])
        #expect(sub.mode == 0o2750 && sub.gid == 8 && sub.seconds == 5000)
        #expect(sub.attributes["user.x"] == Array("1".utf8))
    }

    @Test func `T096 an absolute redirect leads to another directory's place`() throws {
        let result = try view(
            [D("a"), D("a/deep"), D("a/deep/d", 0o711).time(6000), F("a/deep/d/x", "x"), D("b")],
            change: { try Self.move($0, "a/deep", "b/moved") },
            layer: [F("b/moved/d/y", "y"), W("b/moved/d/.wh.x")])
        #expect(result.paths == ["a/", "b/", "b/moved/", "b/moved/d/", "b/moved/d/y"])
        #expect(result["b/moved/d"]?.mode == 0o711 && result["b/moved/d"]?.seconds == 6000)
    }

    @Test func `A16 links below a renamed directory are followed`() throws {
        let result = try view(
            [D("old"), D("old/usr"), D("old/usr/lib"), S("old/lib", "usr/lib")],
            change: { try Self.move($0, "old", "new") },
            layer: [F("new/lib/x", "x"), W("new/.wh.nothing")])
        #expect(result.paths == ["new/", "new/lib", "new/usr/", "new/usr/lib/", "new/usr/lib/x"])
    }

    @Test func `T166 T059 a hard link to a file of which only metadata was copied up has its data`() throws {
        for moves in [false, true] {
            let name = moves ? "dir/renamed" : "dir/f"
            let result = try view(
                [D("dir"), F("dir/f", "the data of the file", 0o644)],
                change: {
                    try $0.mode("dir/f", 0o600)
                    if moves { try Self.move($0, "dir/f", "dir/renamed") }
                },
                layer: [H("link", name)])
            #expect(result["link"]?.text == "the data of the file" && result["link"]?.mode == 0o644)
            #expect(result["link"]?.firstPath == result[name]?.firstPath)
        }
    }

    @Test func `A16 a name that moved away is not seen at its old place`() throws {
        let result = try view(
            [D("old", 0o700), F("old/a")], change: { try Self.move($0, "old", "new") }, layer: [F("old/b", "b")])
        #expect(result.paths == ["new/", "new/a", "old/", "old/b"])
        #expect(result["old"]?.mode == 0o755)
    }
}
