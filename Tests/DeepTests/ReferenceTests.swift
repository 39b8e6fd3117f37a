import TestSupport
import Testing

@testable import DeepNets

/// The reference itself: against sums that were computed from the rules of Go's writer, and against Python's reader.
@Suite struct ReferenceTests {
    /// Name, contents, owner, attribute, and the SHA-256 of the layer of a tree with that one file.
    struct Vector: Sendable, CustomStringConvertible {
        var name: String
        var contents = ""
        var owner: UInt32 = 0
        var capability = false
        var sum: String
        var description: String { String(name.prefix(20)) }
    }

    @Test(arguments: [
        Vector(
            name: "hello", contents: "hi\\n", sum: "add4f8ab21a36372adf415bcc86bd255a234871e930e2188cb25c29971a79fbe"),
        Vector(
            name: String(repeating: "c", count: 120),
            sum: "6820d9ecfe248bed7a50985e1fed6ecf5790b02b71abbe41bfca4ff3cdf8b21e"),
        Vector(name: "n\\xc3\\xa9", sum: "50c6022aa333d354c0c18a0ae359de12e4e02feb69e64556b0897b8c369dc02c"),
        Vector(
            name: "big", owner: 3_000_000, sum: "09b5d8c0482871949993f9a4a888c7f25579bd0d4eeac1a0f06b414a043dde03"),
    ])
    func `the reference writes the golden archives`(vector: Vector) throws {
        let scratch = try TemporaryDirectory()
        let tree = try TreeBuilder(scratch.path + "/tree")
        try tree.file(vector.name, bytes: vector.contents.isEmpty ? [] : Array("hi\n".utf8), uid: vector.owner)
        try tree.finish()
        let path = scratch.path + "/reference.tar"
        try ReferenceTar.write(tree.root, to: path, .moby)
        #expect(try runProgram(["sha256sum", path]).lines[0].hasPrefix(vector.sum))
    }

    /// Python's tarfile knows nothing of either writer.
    @Test(arguments: Family.allCases) func `Python reads out of the reference what the tree is`(family: Family) throws {
        let scratch = try TemporaryDirectory()
        let tree = try scratch.directory("tree")
        try TreeMaker(Numbers(42), .short).make(family, in: Folder(tree))
        let path = scratch.path + "/reference.tar"
        let count = try ReferenceTar.write(tree, to: path)
        let result = try runProgram(["python3", "-c", Self.reader, tree, path])
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.lines == ["\(count)"])
        _ = try runProgram(["rm", "-rf", tree])
    }

    private static let reader = #"""
        import hashlib, os, stat, sys, tarfile
        root, path = map(os.fsencode, sys.argv[1:])
        kinds = {b"0": stat.S_IFREG, b"2": stat.S_IFLNK, b"3": stat.S_IFCHR, b"4": stat.S_IFBLK, b"5": stat.S_IFDIR, b"6": stat.S_IFIFO}
        inodes, seen = {}, 0
        def at(name):
            # Deep paths are longer than a call takes.
            *parents, last = name.split(b"/")
            handle = os.open(root, os.O_RDONLY)
            for part in parents:
                below = os.open(part, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=handle)
                os.close(handle)
                handle = below
            return handle, last
        with tarfile.open(path, encoding="utf-8", errors="surrogateescape") as archive:
            for member in archive:
                seen += 1
                name = os.fsencode(member.name)
                handle, last = at(name)
                found = os.lstat(last, dir_fd=handle)
                said = (member.mode, member.uid, member.gid, int(member.mtime))
                real = (found.st_mode & 0o7777, found.st_uid, found.st_gid, found.st_mtime_ns // 10**9)
                assert said == real, (name, said, real)
                key = (found.st_dev, found.st_ino)
                if member.islnk():
                    assert inodes[key] == os.fsencode(member.linkname), name
                else:
                    assert key not in inodes or member.isdir(), name
                    inodes[key] = name
                    assert stat.S_IFMT(found.st_mode) == kinds[member.type], name
                if member.issym(): assert os.fsencode(member.linkname) == os.readlink(last, dir_fd=handle), name
                if member.ischr() or member.isblk():
                    assert (member.devmajor, member.devminor) == (os.major(found.st_rdev), os.minor(found.st_rdev)), name
                if member.isreg():
                    with os.fdopen(os.open(last, os.O_RDONLY, dir_fd=handle), "rb") as file:
                        assert file.read() == archive.extractfile(member).read(), name
                labels = [b"/proc/self/fd/%d/" % handle + last]
                wanted = {}
                for label in os.listxattr(labels[0], follow_symlinks=False):
                    hidden = ("user.overlay.", "user.fuseoverlayfs.", "user.containers.override_")
                    if label.startswith(("user.", "system.posix_acl_")) and not label.startswith(hidden) and "=" not in label:
                        wanted[label] = os.getxattr(labels[0], label, follow_symlinks=False)
                got = {k[13:]: os.fsencode(v) for k, v in member.pax_headers.items() if k.startswith("SCHILY.xattr.")}
                got.pop("security.capability", None)
                assert got == wanted, (name, got, wanted)
                os.close(handle)
        print(seen)
        """#
}
