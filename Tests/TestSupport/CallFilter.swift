import Glibc
import Testing

/// Makes a system call fail with `errno` on this thread and on those it starts from now on, as the seccomp filters of
/// container runtimes do. It cannot be taken back, so call it in an exit test only.
package func denyCall(_ number: UInt32, errno: Int32) throws {
    // BPF: load the call's number; if it is this one, return ERRNO | errno, else ALLOW.
    var program: [UInt64] = [
        instruction(0x20, 0, 0, 0), instruction(0x15, 0, 1, number),
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
