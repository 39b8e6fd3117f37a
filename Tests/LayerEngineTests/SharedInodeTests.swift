import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// A tree may have its files by hard links from another one, as a copy by `cp -al` or a layer of the driver overlay: what a
/// layer says of them is said of this tree.
@Suite struct SharedInodeTests {
    private static let kinds = ["bin/sh", "link", "pipe"]

    private func make(_ scratch: TemporaryDirectory) throws -> (other: String, root: String) {
        let (other, root) = (try scratch.directory("other"), try scratch.directory("root"))
        for tree in [other, root] { mkdir(tree + "/bin", 0o755) }
        try writeFile(other + "/bin/sh", Array("#!".utf8), mode: 0o755)
        #expect(symlink("target", other + "/link") == 0 && mkfifo(other + "/pipe", 0o644) == 0)
        for name in Self.kinds { #expect(link(other + "/" + name, root + "/" + name) == 0) }
        return (other, root)
    }

    @Test(arguments: kinds, 0..<5)
    func `a link's header changes the file of its own tree only`(name: String, change: Int) throws {
        let scratch = try TemporaryDirectory()
        let (other, root) = try make(scratch)
        let before = try TreeSnapshot(other)
        let found = try #require(before.entries[name])
        let same = H("x", name).with {
            $0.mode = Int64(found.mode & 0o7777)
            ($0.uid, $0.gid, $0.mtime) = (Int64(found.uid), Int64(found.gid), found.seconds)
        }.pax("mtime", "\(found.seconds).\(String(found.nanoseconds + 1_000_000_000).dropFirst())")
        let header =
            switch change {
            case 0: same
            case 1: name == "link" ? same.ids(7, 8) : same.with { $0.mode = 0o4750 }
            case 2: same.ids(5, 6)
            case 3:
                H("x", name).ids(Int64(found.uid), Int64(found.gid)).time(1000).with {
                    $0.mode = Int64(found.mode & 0o7777)
                }
            default: same.xattr("trusted.label", "new")
            }
        var options = ApplyOptions()
        options.isExact = true
        // One that leads to the other is of the same layer, and has the same file.
        try apply(Tar.archive([header, header.with { $0.name = Array("y".utf8) }]), to: root, options)
        #expect(try TreeSnapshot(other) == before)
        let after = try TreeSnapshot(root)
        let file = try #require(after.entries[name])
        for new in ["x", "y"] { #expect(after.entries[new]?.inode == file.inode) }
        #expect(file.content == found.content && file.kind == found.kind)
        #expect((file.inode == found.inode) == (change == 0), "\(change)")
        switch change {
        case 1: #expect(name == "link" ? file.uid == 7 : file.mode & 0o7777 == 0o4750)
        case 2: #expect(file.uid == 5 && file.gid == 6)
        case 3: #expect(file.seconds == 1000)
        case 4: #expect(file.attributes["trusted.label"] == Array("new".utf8))
        default: #expect(file == found)
        }
        #expect(directoryNames(root).sorted() == ["bin", "link", "pipe", "x", "y"])
    }
}
