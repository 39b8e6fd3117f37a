import Glibc
import LayerModel
import LinuxIO
import Testing

/// Each case runs in a process of its own, since a refusal is the process's for good.
@Suite struct RingRefusedTests {
    /// What a refused ring must come to: no ring, a clear reason, and everything else works.
    static func expectRefusal(_ reason: String) throws {
        #expect(!RingCapabilities.current.isUsable)
        #expect(!RingCapabilities.current.hasDirectDescriptors)
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
            try denyRing(errno: EPERM)
            try RingRefusedTests.expectRefusal(
                "io_uring is refused, probably by a seccomp filter of the container; plain system calls are used")
        }
    }

    @Test func `a kernel without io_uring`() async {
        await #expect(processExitsWith: .success) {
            try denyRing(errno: ENOSYS)
            try RingRefusedTests.expectRefusal("this kernel has no io_uring; plain system calls are used")
        }
    }

    @Test func `a refusal that comes after the check`() async {
        await #expect(processExitsWith: .success) {
            #expect(RingCapabilities.current.isUsable)
            try denyRing(errno: ENOMEM)
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

/// Makes io_uring_setup(2) fail with `errno` in this process from now on, as container runtimes do.
func denyRing(errno: Int32) throws {
    // BPF: load the call's number; if it is io_uring_setup (425), return ERRNO | errno, else ALLOW.
    var program: [UInt64] = [
        instruction(0x20, 0, 0, 0), instruction(0x15, 0, 1, 425),
        instruction(0x06, 0, 0, 0x0005_0000 | UInt32(errno)), instruction(0x06, 0, 0, 0x7fff_0000),
    ]
    // prctl(2) is variadic, which Swift does not import; its arguments travel like those of an ordinary function.
    typealias Prctl = @convention(c) (Int32, UInt, UInt, UInt, UInt) -> Int32
    let symbol = try #require(dlsym(nil, "prctl"))
    let prctl = unsafeBitCast(symbol, to: Prctl.self)
    let (noNewPrivileges, setSeccomp, filterMode) = (Int32(38), Int32(22), UInt(2))
    try #require(prctl(noNewPrivileges, 1, 0, 0, 0) == 0)
    let result = program.withUnsafeMutableBytes { bytes in
        var header = (UInt64(bytes.count / 8), bytes.baseAddress)
        return withUnsafeMutableBytes(of: &header) {
            prctl(setSeccomp, filterMode, UInt(bitPattern: $0.baseAddress), 0, 0)
        }
    }
    try #require(result == 0)
}

/// One struct sock_filter.
private func instruction(_ code: UInt16, _ whenTrue: UInt8, _ whenFalse: UInt8, _ value: UInt32) -> UInt64 {
    UInt64(code) | UInt64(whenTrue) << 16 | UInt64(whenFalse) << 24 | UInt64(value) << 32
}
