internal import CLinux
public import LayerModel
internal import LinuxIO

/// How a program ended and what it said.
public struct CommandResult: Sendable, Equatable {
    /// How it ended.
    public enum Ending: Sendable, Equatable {
        case exited(Int32)
        case killed(signal: Int32)
        case timedOut
    }

    public var ending: Ending
    public var standardOutput: [UInt8]
    public var standardError: [UInt8]
    /// More came than the limit allowed to keep; the rest was read and dropped.
    public var isCut: Bool

    public init(ending: Ending, standardOutput: [UInt8], standardError: [UInt8], isCut: Bool) {
        self.ending = ending
        self.standardOutput = standardOutput
        self.standardError = standardError
        self.isCut = isCut
    }

    public var succeeded: Bool { ending == .exited(0) }

    /// Standard error as text for messages, without the newline at its end.
    public var errorText: String {
        var bytes = standardError
        while let last = bytes.last, last == 10 || last == 32 { bytes.removeLast() }
        return bytes.split(separator: 10, omittingEmptySubsequences: false).map { escapedText(Array($0)) }
            .joined(separator: "\n")
    }
}

/// A program and how to run it.
///
/// The child gets its three streams and nothing else, a process group of its own, default signals, and an environment of
/// PATH, HOME, LC_ALL=C and what is given. The call blocks until the child itself has ended: a grandchild that goes on in
/// the background and keeps the streams open, as fuse-overlayfs does, is not waited for.
public struct Command: Sendable {
    /// A name that is looked up in PATH, or a path.
    public var program: PathBytes
    public var arguments: [[UInt8]]
    /// Working directory; the process's own when nil.
    public var directory: PathBytes?
    /// Variables besides those that every child has, which they replace.
    public var environment: [String: String] = [:]
    public var input: [UInt8] = []
    public var timeoutMilliseconds: Int
    /// Most bytes kept of each of the two outputs.
    public var outputLimit = 64 << 20
    /// What to install when the program is missing, for the error's text.
    public var package: String?
    /// It leaves a process behind that serves others: where the kernel is told to spare this process when memory runs out,
    /// as systemd tells it of a daemon, that one is not spared too.
    public var leavesServer = false

    public init(
        _ program: String, _ arguments: [String] = [], directory: PathBytes? = nil, timeoutMilliseconds: Int = 60_000,
        package: String? = nil
    ) {
        self.init(
            PathBytes(program), arguments.map { Array($0.utf8) }, directory: directory,
            timeoutMilliseconds: timeoutMilliseconds, package: package)
    }

    public init(
        _ program: PathBytes, _ arguments: [[UInt8]], directory: PathBytes? = nil, timeoutMilliseconds: Int = 60_000,
        package: String? = nil
    ) {
        self.program = program
        self.arguments = arguments
        self.directory = directory
        self.timeoutMilliseconds = timeoutMilliseconds
        self.package = package
    }
}

/// Runs programs: the only place that does.
public enum CommandRunner {
    /// Runs a program to its end.
    ///
    /// Throws `.driverUnavailable` where there is no such program, otherwise what starting it failed with. A program that
    /// fails or takes too long is a result, not an error.
    public static func run(_ command: Command) throws(LayerError) -> CommandResult {
        let program = try find(command.program, package: command.package)
        let input = try inputFile(command)
        let output = try Pipe(command.program)
        let errors = try Pipe(command.program)
        let streams = [input.number, output.writing.number, errors.writing.number]
        let process = try spawn(program, command, streams)
        var child = RunningChild(
            process: process, output: output.closeWriting(), errors: errors.closeWriting(), limit: command.outputLimit)
        return try child.waitForEnd(command)
    }

    /// Where `name` is: itself where it has a slash, else the first in PATH or one of the usual folders for daemons'
    /// programs that may be run.
    public static func find(_ name: PathBytes, package: String? = nil) throws(LayerError) -> PathBytes {
        try checkText(name, "run")
        if name.bytes.contains(UInt8(ascii: "/")) {
            let result = Kernel.mayRun(Terminated(name))
            if result >= 0 { return name }
            throw LayerError(
                .driverUnavailable, "run", path: name, cause: .systemCall(SystemCallError("access", errno: -result)),
                hint: package.map { "install the package \($0)" })
        }
        for folder in Environment.searchPath {
            let path = PathBytes(folder).appending(name)
            if Kernel.mayRun(Terminated(path)) >= 0 { return path }
        }
        throw LayerError(
            .driverUnavailable, "run", path: name,
            cause: .reason("not found in \(Environment.searchPath.joined(separator: ":"))"),
            hint: package.map { "install the package \($0)" })
    }

    /// Standard input: /dev/null, or a file in memory, which never makes us wait for the child to read.
    private static func inputFile(_ command: Command) throws(LayerError) -> OwnedDescriptor {
        let operation = "prepare the input of"
        if command.input.isEmpty {
            return try naming(operation, command.program) { () throws(SystemCallError) in
                try OwnedDescriptor.open(NamePointer("/dev/null"), .readOnly)
            }
        }
        let file = OwnedDescriptor(
            adopting: try check(ldl_memory_file(), "memfd_create", operation, command.program))
        do {
            try file.writeAll(command.input.rawBytes)
            _ = try file.seek(0, .start)
        } catch {
            throw LayerError(error, operation, path: command.program)
        }
        return file
    }

    private static func spawn(_ program: PathBytes, _ command: Command, _ streams: [Int32]) throws(LayerError) -> Int32
    {
        for argument in command.arguments where argument.contains(0) {
            throw LayerError(.invalidArgument, "run", path: program, cause: .reason("an argument contains NUL"))
        }
        let isUnspared = command.leavesServer && isSpared
        let words = [command.program.bytes] + command.arguments
        let arguments = TerminatedList(isUnspared ? unsparing(program) + command.arguments : words)
        let started = isUnspared ? PathBytes("/bin/sh") : program
        let environment = TerminatedList(Environment.variables(command.environment).map { Array($0.utf8) })
        let directory = command.directory.map(Terminated.init)
        let result = Kernel.spawn(Terminated(started), arguments, environment, directory, streams)
        if result < 0 {
            let error = SystemCallError("posix_spawn", errno: -result)
            let place = command.directory.map { " in \($0)" } ?? ""
            throw LayerError(error, "run" + place, path: program)
        }
        return result
    }
}

extension CommandRunner {
    /// Whether the kernel spares this process when memory runs out, which children inherit.
    private static var isSpared: Bool {
        (try? contents(of: PathBytes("/proc/self/oom_score_adj"), "read"))?.first == UInt8(ascii: "-")
    }

    /// What a shell is started with so that it becomes the program, with a score like everybody's. Only a process itself can
    /// have it before it forks.
    private static func unsparing(_ program: PathBytes) -> [[UInt8]] {
        let script = "echo 0 2>/dev/null >/proc/self/oom_score_adj; exec \"$0\" \"$@\""
        return [Array("sh".utf8), Array("-c".utf8), Array(script.utf8), program.bytes]
    }
}

/// A pipe from a child to us.
private struct Pipe: ~Copyable {
    let reading: OwnedDescriptor
    let writing: OwnedDescriptor

    init(_ program: PathBytes) throws(LayerError) {
        let (result, ends) = Kernel.pipe()
        try check(result, "pipe2", "run", program)
        reading = OwnedDescriptor(adopting: ends.reading)
        writing = OwnedDescriptor(adopting: ends.writing)
    }

    /// The reading end alone, once the child has the other.
    consuming func closeWriting() -> OwnedDescriptor { reading }
}
