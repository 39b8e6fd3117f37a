import Glibc
import LayerModel
import LinuxIO
import Synchronization
import TestSupport
import Testing

/// Between the look at a name and its opening somebody puts something else in its place.
@Suite struct RegularFileTests {
    enum Replacement: String, CaseIterable {
        case nothing, file, directory, linkToIt, linkToNothing, fifo, socket, device, absentDevice, whiteout
    }

    @Test(arguments: Replacement.allCases) func `only the file that was looked at is opened`(_ kind: Replacement) throws
    {
        let scratch = try Scratch()
        try scratch.write("name", [1, 2, 3])
        let expected = FileIdentity(try scratch.directory.metadata(NamePointer("name")))
        rename(scratch.path + "/name", scratch.path + "/aside")
        try put(kind, at: scratch.path + "/name")
        // A FIFO without a writer would make a plain open wait for ever.
        switch try scratch.directory.openRegular(NamePointer("name"), expecting: expected) {
        case .same: Issue.record("it was opened")
        case .changed: #expect(kind != .nothing)
        case .vanished: #expect(kind == .nothing)
        }
        // It stands where it stood again, and another name of it is as good.
        rename(scratch.path + "/aside", scratch.path + "/name")
        if kind == .directory {
            rmdir(scratch.path + "/name")
            rename(scratch.path + "/aside", scratch.path + "/name")
        }
        link(scratch.path + "/name", scratch.path + "/other")
        try scratch.write("other", [1, 2, 3, 4])
        switch try scratch.directory.openRegular(NamePointer("name"), expecting: expected) {
        case .same(let file, let now):
            #expect(now.size == 4)
            #expect(try contents(file) == [1, 2, 3, 4])
        default: Issue.record("it was not opened")
        }
    }

    private func put(_ kind: Replacement, at path: String) throws {
        let made: Int32
        switch kind {
        case .nothing: made = 0
        case .file: made = close(creat(path, 0o600))
        case .directory: made = mkdir(path, 0o700)
        case .linkToIt: made = symlink("aside", path)
        case .linkToNothing: made = symlink("missing", path)
        case .fifo: made = mkfifo(path, 0o600)
        case .socket: made = mknod(path, S_IFSOCK | 0o600, 0)
        // /dev/zero, and a number that no driver has.
        case .device: made = mknod(path, S_IFCHR | 0o600, 0x105)
        case .absentDevice: made = mknod(path, S_IFBLK | 0o600, 0xf_ef05)
        case .whiteout: made = mknod(path, S_IFCHR | 0o600, 0)
        }
        try #require(made == 0)
    }

    @Test func `what is exchanged in a loop is the file or is not opened`() throws {
        let scratch = try Scratch()
        try scratch.write("name", pattern(1, count: 64))
        try #require(mknod(scratch.path + "/zero", S_IFCHR | 0o600, 0x105) == 0)
        let expected = FileIdentity(try scratch.directory.metadata(NamePointer("name")))
        let isOver = Atomic<Bool>(false)
        let directory = try scratch.directory.duplicate()
        let exchanger = try WorkerThread {
            while !isOver.load(ordering: .relaxed) {
                try? directory.exchange(NamePointer("name"), with: NamePointer("zero"), in: directory)
            }
        }
        var counts = (same: 0, changed: 0)
        let failure = Result {
            for _ in 0..<20_000 {
                switch try scratch.directory.openRegular(NamePointer("name"), expecting: expected) {
                case .same(let file, _):
                    counts.same += 1
                    try #require(try contents(file) == pattern(1, count: 64))
                case .changed: counts.changed += 1
                case .vanished: Issue.record("a name that always exists is gone")
                }
            }
        }
        isOver.store(true, ordering: .relaxed)
        exchanger.join()
        try failure.get()
        #expect(counts.same > 0 && counts.changed > 0, "\(counts)")
    }

    @Test func `an error of the file itself is an error`() async {
        await #expect(processExitsWith: .success) {
            let scratch = try Scratch()
            try scratch.write("name", [1])
            try #require(chmod(scratch.path, 0o755) == 0 && chmod(scratch.path + "/name", 0) == 0)
            let expected = FileIdentity(try scratch.directory.metadata(NamePointer("name")))
            try #require(seteuid(65_534) == 0)
            #expect(throws: SystemCallError("openat", errno: EACCES)) {
                _ = try scratch.directory.openRegular(NamePointer("name"), expecting: expected)
            }
            seteuid(0)
        }
    }
}
