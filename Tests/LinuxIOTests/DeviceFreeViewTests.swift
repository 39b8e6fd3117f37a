import Glibc
import LayerModel
import LinuxIO
import TestSupport
import Testing

@Suite struct DeviceFreeViewTests {
    @Test func `files are read through the view, and devices are not even opened`() throws {
        let scratch = try Scratch()
        try scratch.write("file", [1, 2, 3])
        // /dev/zero, under a name of the tree.
        #expect(mknod(scratch.path + "/device", S_IFCHR | 0o666, 1 << 8 | 5) == 0)
        guard let view = scratch.directory.withoutDevices() else { throw TestFailure("no view") }
        let slab = Slab(capacity: 16)
        #expect(try view.open(NamePointer("file"), .readOnly).read(into: slab, 0..<16) == 3)
        #expect(throws: SystemCallError("openat", errno: EACCES)) {
            _ = try view.open(NamePointer("device"), .readOnly)
        }
        // It is the same tree, and says the same of itself.
        #expect(try view.metadata(NamePointer("device")) == scratch.directory.metadata(NamePointer("device")))
        _ = try scratch.directory.open(NamePointer("device"), .readOnly)
    }

    @Test func `a view leaves no mount behind`() throws {
        func mounts() throws -> [UInt8] { try runProgram(["cat", "/proc/self/mountinfo"]).output }
        let before = try mounts()
        let scratch = try Scratch()
        do {
            guard let view = scratch.directory.withoutDevices() else { throw TestFailure("no view") }
            #expect(try view.metadata().kind == .directory)
            #expect(try mounts() == before)
        }
        #expect(try mounts() == before)
    }
}
