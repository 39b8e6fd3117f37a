import Glibc
import LayerModel
import LinuxIO
import Testing

@Suite struct NodeCreationTests {
    @Test func `modes, owners and times are set without following links`() throws {
        let scratch = try Scratch()
        try scratch.write("file", [1])
        let link = NamePointer("link")
        let file = NamePointer("file")
        try scratch.directory.makeSymbolicLink(link, target: file)
        try scratch.directory.setOwner(link, uid: 1_234, gid: 4_321)
        try scratch.directory.setTimes(
            link, access: TimeStamp(seconds: -5, nanoseconds: 1),
            modification: TimeStamp(seconds: 4_000_000_000, nanoseconds: 999_999_999))
        let linkMetadata = try scratch.directory.metadata(link)
        #expect(linkMetadata.uid == 1_234 && linkMetadata.gid == 4_321)
        #expect(linkMetadata.mtimeSeconds == 4_000_000_000 && linkMetadata.mtimeNanoseconds == 999_999_999)
        #expect(try scratch.directory.metadata(file).uid == getuid())
        try scratch.directory.setMode(file, 0o6755)
        #expect(try scratch.directory.metadata(file).mode == 0o106755)
        let opened = try scratch.open("file", .readWrite)
        try opened.setMode(0o640)
        try opened.setOwner(uid: 7, gid: 8)
        try opened.setTimes(
            access: TimeStamp(seconds: 1, nanoseconds: 2), modification: TimeStamp(seconds: 3, nanoseconds: 4))
        let metadata = try opened.metadata()
        #expect(metadata.mode == 0o100640 && metadata.uid == 7 && metadata.gid == 8)
        #expect(metadata.mtimeSeconds == 3 && metadata.mtimeNanoseconds == 4)
    }

    @Test func `links, renames and removals`() throws {
        let scratch = try Scratch()
        let directory = scratch.directory.number
        #expect(directory >= 0)
        try scratch.write("a", [1, 2])
        try scratch.directory.makeHardLink(NamePointer("b"), to: NamePointer("a"), in: scratch.directory)
        let (first, second) =
            (try scratch.directory.metadata(NamePointer("a")), try scratch.directory.metadata(NamePointer("b")))
        #expect(first.inode == second.inode && second.linkCount == 2)
        try scratch.directory.makeSymbolicLink(NamePointer("l"), target: NamePointer("a"))
        try scratch.directory.makeHardLink(NamePointer("m"), to: NamePointer("l"), in: scratch.directory)
        #expect(try scratch.directory.metadata(NamePointer("m")).kind == .symbolicLink)
        let slab = Slab(capacity: 100)
        #expect(try scratch.directory.readLink(NamePointer("m"), into: slab, 3..<100) == 1)
        #expect(slab.span(3..<4).copied() == Array("a".utf8))
        #expect(throws: SystemCallError("renameat2", errno: EEXIST)) {
            try scratch.directory.rename(
                NamePointer("a"), to: NamePointer("l"), in: scratch.directory, exclusive: true)
        }
        try scratch.directory.rename(NamePointer("b"), to: NamePointer("l"), in: scratch.directory)
        #expect(try scratch.directory.metadata(NamePointer("l")).kind == .regular)
        #expect(try scratch.directory.metadataIfPresent(NamePointer("b")) == nil)
        try scratch.directory.makeDirectory(NamePointer("d"), mode: 0o700)
        #expect(throws: SystemCallError("unlinkat", errno: EISDIR)) { try scratch.directory.unlink(NamePointer("d")) }
        #expect(throws: SystemCallError("unlinkat", errno: ENOTDIR)) {
            try scratch.directory.removeDirectory(NamePointer("a"))
        }
        try scratch.directory.removeDirectory(NamePointer("d"))
        try scratch.directory.unlink(NamePointer("a"))
        #expect(throws: SystemCallError("statx", errno: ENOENT)) { try scratch.directory.metadata(NamePointer("a")) }
        #expect(throws: SystemCallError("mkdirat", errno: EEXIST)) {
            try scratch.directory.makeDirectory(NamePointer("l"), mode: 0o700)
        }
    }

    @Test func `opening beneath a root does not escape`() throws {
        let scratch = try Scratch()
        try scratch.write("file", [])
        try scratch.directory.makeSymbolicLink(NamePointer("out"), target: NamePointer("/etc/passwd"))
        try scratch.directory.makeSymbolicLink(NamePointer("in"), target: NamePointer("/file"))
        func attempt(_ name: borrowing NamePointer, _ resolve: ResolveFlags) -> Int32 {
            do throws(SystemCallError) {
                _ = try scratch.directory.open(name, .readOnly, resolve: resolve)
                return 0
            } catch {
                return error.errno
            }
        }
        #expect(attempt(NamePointer("file"), .beneath) == 0)
        #expect(attempt(NamePointer("../file"), .beneath) == EXDEV)
        #expect(attempt(NamePointer("out"), .beneath) == EXDEV)
        #expect(attempt(NamePointer("out"), .inRoot) == ENOENT)
        #expect(attempt(NamePointer("in"), .inRoot) == 0)
        #expect(attempt(NamePointer("in"), .noSymlinks) == ELOOP)
    }
}

@Suite struct OwnedDescriptorTests {
    private func isOpen(_ number: Int32, _ path: String) throws -> Bool { try openDescriptors(under: path) > 0 }

    @Test func `a descriptor is closed once, when its owner goes`() throws {
        let scratch = try Scratch()
        let path = scratch.path + "/file"
        try scratch.write("file", [])
        do {
            let file = try scratch.open("file")
            #expect(file.number > 2)
            #expect(try openDescriptors(under: path) == 1)
        }
        #expect(try openDescriptors(under: path) == 0)
        try scratch.open("file").close()
        #expect(try openDescriptors(under: path) == 0)
        let number = try scratch.open("file").relinquish()
        #expect(try openDescriptors(under: path) == 1)
        let again = try OwnedDescriptor(adopting: number).duplicate()
        #expect(try openDescriptors(under: path) == 1)
        try again.close()
        #expect(try openDescriptors(under: path) == 0)
        #expect(fcntl(number, F_GETFD) == -1 || number >= 0)
    }

    @Test func `descriptors are not inherited`() throws {
        let scratch = try Scratch()
        try scratch.write("file", [])
        let file = try scratch.open("file")
        let copy = try file.duplicate()
        #expect(fcntl(file.number, F_GETFD) == FD_CLOEXEC && fcntl(copy.number, F_GETFD) == FD_CLOEXEC)
    }

    @Test func `a bad descriptor ends the process instead of going on`() async {
        await #expect(processExitsWith: .failure) {
            let number = try OwnedDescriptor.open(NamePointer("/"), .readOnly).relinquish()
            close(number)
            let stale = OwnedDescriptor(adopting: number)
            _ = try? stale.metadata()
            exit(0)
        }
    }
}
