import Glibc

/// A run of a program: what it is given, where its output goes, and how long it may take.
struct Run {
    enum Output {
        case nothing
        /// A file, made anew.
        case file(String)
        /// Read by `reader` through a pipe, which says false when it has seen enough.
        case pipe
    }

    var words: [String]
    var environment: [String: String] = [:]
    /// A file that is its standard input.
    var input: String?
    var output = Output.nothing
    /// How much the pipe holds; nil leaves it to the kernel.
    var pipeBytes: Int32?
    /// Seconds; a run that takes longer is ended, and that is a finding.
    var limit = 20.0
    /// How many descriptors it may have.
    var descriptors: Int?
    /// A control group that it is put into before it begins.
    var group: String?

    init(_ words: [String]) { self.words = words }

    /// The longest that any run may take, for tests of the nets: LDIFF_DEEP_LIMIT.
    private static let longest = getenv("LDIFF_DEEP_LIMIT").flatMap { Double(String(cString: $0)) } ?? .infinity
}

/// How a run ended.
struct Ending: CustomStringConvertible {
    /// The exit status, or 128 and the signal's number.
    var status: Int32 = 0
    var tookTooLong = false
    var errors = ""
    var seconds = 0.0
    /// Bytes that came through the pipe.
    var bytes = 0
    /// What its threads did when it was ended.
    var threads = ""

    var description: String {
        let how = tookTooLong ? "not ended after \(Int(seconds)) s, its threads \(threads)" : "status \(status)"
        return errors.isEmpty ? how : "\(how): \(brief(errors))"
    }
}

extension Run {
    /// Runs it; `consume` is given what comes through a pipe.
    func callAsFunction(_ consume: (UnsafeRawBufferPointer) throws -> Void = { _ in }) throws -> Ending {
        var pipes: [Int32] = [-1, -1]
        if case .pipe = output { guard pipe(&pipes) == 0 else { throw Trouble.call("pipe", words[0]) } }
        defer { for end in pipes where end >= 0 { close(end) } }
        if let pipeBytes { _ = fcntl(pipes[0], 1031, pipeBytes) }  // F_SETPIPE_SZ
        let errors = try Self.unnamedFile()
        defer { close(errors) }
        let begin = seconds()
        let process = try start(standardOutput: pipes[1], errors: errors)
        if pipes[1] >= 0 { close(pipes[1]) }
        pipes[1] = -1
        var ending = Ending()
        do {
            ending = try wait(for: process, until: begin + min(limit, Self.longest), pipe: pipes[0], consume)
        } catch {
            Self.end(process)
            throw error
        }
        ending.seconds = seconds() - begin
        ending.errors = try Self.text(of: errors)
        return ending
    }

    /// Starts it in a process group of its own, with three streams and no other descriptor.
    func start(standardOutput: Int32 = -1, errors: Int32 = -1) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, input ?? "/dev/null", O_RDONLY, 0)
        switch output {
        case .nothing: posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
        case .file(let path): posix_spawn_file_actions_addopen(&actions, 1, path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
        case .pipe: posix_spawn_file_actions_adddup2(&actions, standardOutput, 1)
        }
        if errors >= 0 { posix_spawn_file_actions_adddup2(&actions, errors, 2) }
        for descriptor in Int32(3)..<256 { posix_spawn_file_actions_addclose(&actions, descriptor) }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
        posix_spawnattr_setpgroup(&attributes, 0)
        var all = words
        if let descriptors { all = ["prlimit", "--nofile=\(descriptors):\(descriptors)", "--"] + all }
        if let group { all = ["sh", "-c", "echo $$ > \"$0\"/cgroup.procs && exec \"$@\"", group] + all }
        if !environment.isEmpty { all = ["env"] + environment.map { "\($0.key)=\($0.value)" } + all }
        var arguments: [UnsafeMutablePointer<CChar>?] = all.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        var process = pid_t()
        let error = posix_spawnp(&process, all[0], &actions, &attributes, &arguments, environ)
        guard error == 0 else { throw Trouble("cannot run \(all[0]): \(String(cString: strerror(error)))") }
        return process
    }

    private func wait(
        for process: pid_t, until end: Double, pipe: Int32, _ consume: (UnsafeRawBufferPointer) throws -> Void
    ) throws -> Ending {
        var ending = Ending()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 8)
        defer { buffer.deallocate() }
        var isOpen = pipe >= 0
        var pause: UInt32 = 200
        while true {
            if isOpen {
                var poller = pollfd(fd: pipe, events: Int16(POLLIN), revents: 0)
                if poll(&poller, 1, 20) > 0 {
                    let count = read(pipe, buffer.baseAddress, buffer.count)
                    guard count >= 0 else { throw Trouble.call("read", "a pipe") }
                    isOpen = count > 0
                    ending.bytes += count
                    if count > 0 { try consume(UnsafeRawBufferPointer(rebasing: buffer[..<count])) }
                }
            } else {
                usleep(pause)
                pause = min(pause * 2, 3000)
            }
            var status: Int32 = 0
            if !isOpen, waitpid(process, &status, WNOHANG) == process {
                let signal = status & 0x7f
                ending.status = signal == 0 ? (status >> 8) & 0xff : 128 + signal
                return ending
            }
            // What it waited for a processor, on a machine that does other things as well, is not its fault.
            if seconds() > end, seconds() > end + Self.delay(of: process) {
                ending.threads = Self.threads(of: process)
                Self.end(process)
                ending.tookTooLong = true
                ending.status = 128 + SIGKILL
                return ending
            }
        }
    }

    /// The threads of a program: running ones spin, sleeping ones wait in the call whose number is told.
    private static func threads(of process: pid_t) -> String {
        let top = "/proc/\(process)/task"
        let numbers = (try? Folder(top).names()) ?? []
        return numbers.map { number in
            let call = (try? readSmall("\(top)/\(String(decoding: number, as: UTF8.self))/syscall")) ?? []
            return String(decoding: call.prefix { $0 != 32 && $0 != 10 }, as: UTF8.self)
        }.joined(separator: " ")
    }

    /// Seconds for which the thread of a program that had to wait longest could have run and was not let.
    private static func delay(of process: pid_t) -> Double {
        let top = "/proc/\(process)/task"
        let numbers = (try? Folder(top).names()) ?? []
        // Nanoseconds run, nanoseconds waited, turns.
        let waits = numbers.compactMap { number -> Double? in
            let text = (try? readSmall("\(top)/\(String(decoding: number, as: UTF8.self))/schedstat")) ?? []
            let words = text.split(separator: 32)
            return words.count > 1 ? Double(String(decoding: words[1], as: UTF8.self)) : nil
        }
        return (waits.max() ?? 0) / 1e9
    }

    /// Ends a program with all that it started.
    static func end(_ process: pid_t) {
        kill(-process, SIGKILL)
        kill(process, SIGKILL)
        var status: Int32 = 0
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
    }

    static func unnamedFile() throws -> Int32 {
        let descriptor = open("/tmp", O_RDWR | 0o20200000 | O_CLOEXEC, 0o600)  // O_TMPFILE
        guard descriptor >= 0 else { throw Trouble.call("open an unnamed file in", "/tmp") }
        return descriptor
    }

    private static func text(of descriptor: Int32) throws -> String {
        var bytes = Name(repeating: 0, count: 4000)
        let count = pread(descriptor, &bytes, bytes.count, 0)
        var text = String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self)
        while text.last?.isWhitespace == true { text.removeLast() }
        return text
    }
}

/// Runs a tool of the system that must succeed; its standard output.
@discardableResult
func tool(_ words: String..., limit: Double = 120) throws -> String {
    var run = Run(words)
    run.output = .pipe
    run.limit = limit
    var bytes: Name = []
    let ending = try run { bytes += $0 }
    guard ending.status == 0 else { throw Trouble("\(words.joined(separator: " ")): \(ending)") }
    return String(decoding: bytes, as: UTF8.self)
}
