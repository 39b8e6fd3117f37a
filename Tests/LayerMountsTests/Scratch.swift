import Glibc
import LayerModel
import LayerMounts
import LinuxIO
import Testing

/// A directory of a test's own, gone with everything in and on it when the test ends.
final class Scratch {
    let path: String

    init(_ name: String = "ldiff-mounts", in parent: String = "/var/tmp") throws {
        var template = Array("\(parent)/\(name)-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemCallError("mkdtemp", errno: errno) }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        chmod(path, 0o755)
    }

    deinit {
        try? KernelMount.unmountAll(atOrBelow: PathBytes(path))
        _ = try? CommandRunner.run(Command("rm", ["-rf", "--one-file-system", path]))
    }

    func callAsFunction(_ name: String) -> PathBytes { PathBytes("\(path)/\(name)") }
    func text(_ name: String) -> String { "\(path)/\(name)" }

    @discardableResult
    func directory(_ name: String, mode: UInt32 = 0o755) throws -> PathBytes {
        try run("mkdir", ["-p", "-m", String(mode, radix: 8), text(name)])
        return self(name)
    }

    func write(_ name: String, _ text: String) throws {
        guard let file = fopen(self.text(name), "w") else { throw SystemCallError("fopen", errno: errno) }
        fputs(text, file)
        fclose(file)
    }

    func read(_ name: String) -> String? { contents(self.text(name)) }
    func exists(_ name: String) -> Bool { access(text(name), F_OK) == 0 }

    /// A tmpfs over a new directory: quick, and able to be an overlay's upper.
    @discardableResult
    func memory(_ name: String) throws -> PathBytes {
        let path = try directory(name)
        try KernelMount.mount(
            source: PathBytes("tmpfs"), target: path, type: "tmpfs", data: Array("size=256m".utf8))
        return path
    }
}

/// A program that must succeed.
@discardableResult
func run(_ program: String, _ arguments: [String] = [], sourceLocation: SourceLocation = #_sourceLocation) throws
    -> CommandResult
{
    let result = try CommandRunner.run(Command(program, arguments))
    #expect(result.succeeded, "\(program) \(arguments): \(result.errorText)", sourceLocation: sourceLocation)
    return result
}

func contents(_ path: String) -> String? {
    guard let file = fopen(path, "r") else { return nil }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    while case let byte = fgetc(file), byte >= 0 { bytes.append(UInt8(byte)) }
    return String(decoding: bytes, as: UTF8.self)
}

func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
