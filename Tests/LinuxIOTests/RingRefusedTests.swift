import Glibc
import LayerModel
import LinuxIO
import TestSupport
import Testing

/// Each case runs in a process of its own, since a refusal is the process's for good.
@Suite struct RingRefusedTests {
    /// What a refused ring must come to: no ring, a clear reason, and everything else works.
    static func expectRefusal(_ reason: String) throws {
        #expect(!RingCapabilities.current.isUsable)
        #expect(RingCapabilities.current.reason == reason)
        let error = #expect(throws: LayerError.self) {
            let ring = try Ring(entries: 8)
            _ = ring.capacity
        }
        #expect(error?.code == .unsupported)
        #expect(error?.description == "set up io_uring: " + reason)
        let scratch = try Scratch()
        let target = try Scratch(in: "/dev/shm")
        try scratch.write("file", pattern(1, count: 3_000_000))
        let original = try scratch.open("file")
        let copy = try target.open("copy", [.readWrite, .create])
        var copier = FileCopier(usesRing: true)
        #expect(try copier.copy(original, original.metadata(), to: copy).method == .plain)
        #expect(try contents(copy) == contents(original))
    }

    @Test func `switched off by the environment`() async {
        await #expect(processExitsWith: .success) {
            setenv("LDIFF_IO_URING", "off", 1)
            try RingRefusedTests.expectRefusal(
                "io_uring is switched off by LDIFF_IO_URING=off; plain system calls are used")
        }
    }

    @Test func `refused by a seccomp filter`() async {
        await #expect(processExitsWith: .success) {
            try denyCall(425, errno: EPERM)
            try RingRefusedTests.expectRefusal(
                "io_uring is refused, probably by a seccomp filter of the container; plain system calls are used")
        }
    }

    @Test func `a kernel without io_uring`() async {
        await #expect(processExitsWith: .success) {
            try denyCall(425, errno: ENOSYS)
            try RingRefusedTests.expectRefusal("this kernel has no io_uring; plain system calls are used")
        }
    }

    @Test func `a refusal that comes after the check`() async {
        await #expect(processExitsWith: .success) {
            #expect(RingCapabilities.current.isUsable)
            try denyCall(425, errno: ENOMEM)
            let error = #expect(throws: LayerError.self) {
                let ring = try Ring(entries: 8)
                _ = ring.capacity
            }
            #expect(
                error?.description
                    == "set up io_uring: io_uring cannot be set up: Cannot allocate memory; "
                    + "plain system calls are used")
        }
    }

    @Test func `the tests' own switch`() async {
        await #expect(processExitsWith: .success) {
            RingCapabilities.pretendRefusal(errno: ENOSYS)
            try RingRefusedTests.expectRefusal("this kernel has no io_uring; plain system calls are used")
            RingCapabilities.pretendRefusal(errno: 0)
            #expect(RingCapabilities.current.isUsable)
        }
    }
}
