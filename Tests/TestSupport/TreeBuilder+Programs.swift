import Glibc
import LayerModel

/// Collects a stream in memory.
package struct CollectingSink: ByteSink, ~Copyable {
    package private(set) var bytes: [UInt8] = []
    package init() {}
    package mutating func write(_ piece: RawSpan) throws(LayerError) {
        piece.withUnsafeBytes { bytes.append(contentsOf: $0) }
    }
    package mutating func finish() throws(LayerError) {}
}

/// What a program said and how it ended.
package struct ProgramResult {
    /// The exit status, or 128 and the signal's number.
    package var status: Int32
    package var output: [UInt8]
    package var errors: String
    package var lines: [String] {
        output.split(separator: UInt8(ascii: "\n")).map { String(decoding: $0, as: UTF8.self) }
    }
}

/// Runs a program of the system, found in PATH, without a shell. It gets its three streams and no other descriptor: one that
/// goes on in the background would keep pipes of other tests open.
///
/// Not Foundation's `Process`: that lets the program be a zombie until it looks again, and Swift Testing, which waits for any
/// child, does not see its own children's ends meanwhile.
package func runProgram(_ words: [String], input: [UInt8] = []) throws -> ProgramResult {
    let streams = try (0..<3).map { _ in try unnamedFile() }
    defer { for stream in streams { close(stream) } }
    try writeAll(input, to: streams[0])
    lseek(streams[0], 0, SEEK_SET)
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for (number, stream) in streams.enumerated() { posix_spawn_file_actions_adddup2(&actions, stream, Int32(number)) }
    if input.isEmpty { posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0) }
    closeOthers(&actions)
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    defer { for argument in arguments { free(argument) } }
    var process = pid_t()
    let error = posix_spawnp(&process, words[0], &actions, nil, &arguments, environ)
    guard error == 0 else { throw TestFailure("cannot run \(words[0]): \(String(cString: strerror(error)))") }
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0, errno == EINTR {}
    let signal = status & 0x7f
    return ProgramResult(
        status: signal == 0 ? (status >> 8) & 0xff : 128 + signal, output: try contents(streams[1]),
        errors: String(decoding: try contents(streams[2]), as: UTF8.self))
}

/// Closes all but the three streams in a program that is started.
func closeOthers(_ actions: inout posix_spawn_file_actions_t) {
    // Glibc's closefrom is not visible to Swift; closing what is not open is no error here.
    for descriptor in Int32(3)..<1024 { posix_spawn_file_actions_addclose(&actions, descriptor) }
}

/// Writes all bytes to a descriptor.
package func writeAll(_ bytes: [UInt8], to descriptor: Int32) throws {
    var rest = bytes[...]
    while !rest.isEmpty {
        let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        guard count > 0 else { throw TestFailure.call("write", "descriptor \(descriptor)") }
        rest = rest.dropFirst(count)
    }
}

private func unnamedFile() throws -> Int32 {
    var template = Array("/var/tmp/ldiff-stream-XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)
    guard descriptor >= 0 else { throw TestFailure.call("mkstemp", "/var/tmp") }
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    unlink(template)
    return descriptor
}

private func contents(_ descriptor: Int32) throws -> [UInt8] {
    lseek(descriptor, 0, SEEK_SET)
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 18)
    while true {
        let count = read(descriptor, &buffer, buffer.count)
        guard count >= 0 else { throw TestFailure.call("read", "the output of a program") }
        if count == 0 { return bytes }
        bytes.append(contentsOf: buffer[0..<count])
    }
}

/// Docker's and containerd's own layer code (perf/peers); `make peers` builds it, and a test without it fails.
package enum Peer: String, Sendable {
    case docker = "peer-docker"
    case containerd = "peer-containerd"

    /// What the peer writes on standard output.
    package func callAsFunction(_ arguments: String..., input: [UInt8] = []) throws -> ProgramResult {
        let program = packagePath("perf/peers/bin/\(rawValue)")
        guard access(program, X_OK) == 0 else { throw TestFailure("\(program) is missing: run `make peers` first") }
        let result = try runProgram([program] + arguments, input: input)
        guard result.status == 0 else { throw TestFailure("\(rawValue) \(arguments): \(result.errors)") }
        return result
    }
}
