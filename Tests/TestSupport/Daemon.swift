import Glibc

/// A program that runs beside a test: started with a log, waited for, ended. It gets no descriptor of ours but the log,
/// and a session of its own, so that it can be ended with all that it started.
package final class Daemon {
    package let name: String
    package let process: pid_t
    private let log: String
    private var exitStatus: Int32?

    /// Starts `words`, found in PATH; what it says goes to the file `log`.
    package init(_ words: [String], environment: [String: String] = [:], log: String) throws {
        name = words[0]
        self.log = log
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o644)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        closeOthers(&actions)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP) | Int16(POSIX_SPAWN_SETSIGMASK))
        posix_spawnattr_setpgroup(&attributes, 0)
        let variables = Self.environment.merging(environment) { $1 }
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        var settings: [UnsafeMutablePointer<CChar>?] = variables.map { strdup("\($0)=\($1)") } + [nil]
        defer { for text in arguments + settings { free(text) } }
        var process = pid_t()
        let error = posix_spawnp(&process, words[0], &actions, &attributes, &arguments, &settings)
        guard error == 0 else {
            throw TestFailure(
                "cannot start \(words[0]) (is its Debian package installed?): \(String(cString: strerror(error)))")
        }
        self.process = process
    }

    /// What every daemon of a test is given, whatever the environment of the tests.
    package static let environment = [
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC",
    ]

    /// The last lines of the log.
    package var tail: String {
        let lines = String(decoding: (try? readFile(log)) ?? [], as: UTF8.self).split(separator: "\n")
        return "the end of \(log):\n" + lines.suffix(25).joined(separator: "\n")
    }

    /// False once it ended; it is no zombie then.
    package var isRunning: Bool {
        if exitStatus != nil { return false }
        var status: Int32 = 0
        guard waitpid(process, &status, WNOHANG) == process else { return true }
        exitStatus = status
        return false
    }

    /// Waits until `condition` holds; an error with the log's end where the program ends first or time runs out.
    package func wait(seconds: Int = 30, until what: String, _ condition: () throws -> Bool) throws {
        let tries = seconds * 50
        for _ in 0..<tries {
            if try condition() { return }
            guard isRunning else { throw TestFailure("\(name) ended before \(what); \(tail)") }
            usleep(20_000)
        }
        throw TestFailure("\(name): not \(what) after \(seconds) s; \(tail)")
    }

    /// Asks it to end and waits; one that does not is killed, and that is an error.
    package func stop(seconds: Int = 20) throws {
        guard isRunning else { throw TestFailure("\(name) had ended by itself with \(exitStatus ?? 0); \(tail)") }
        Glibc.kill(process, SIGTERM)
        for _ in 0..<seconds * 100 {
            if !isRunning {
                // Killed by the signal that asked it, or 0: both are an orderly end.
                guard exitStatus == 0 || exitStatus == SIGTERM else {
                    throw TestFailure("\(name) ended with wait status \(exitStatus ?? 0); \(tail)")
                }
                return
            }
            usleep(10_000)
        }
        kill()
        throw TestFailure("\(name) did not end within \(seconds) s of SIGTERM and was killed; \(tail)")
    }

    /// Ends it and its process group at once.
    package func kill() {
        guard isRunning else { return }
        Glibc.kill(-process, SIGKILL)
        Glibc.kill(process, SIGKILL)
        var status: Int32 = 0
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
        exitStatus = status
    }

    deinit { kill() }
}

/// Whether something accepts connections at a socket's path.
package func accepts(socket path: String) -> Bool {
    guard let descriptor = connected(socket: path) else { return false }
    close(descriptor)
    return true
}

/// A connection to a socket's path, which the caller closes; nil where nobody listens.
func connected(socket path: String) -> Int32? {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return nil }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    var isConnected = false
    if bytes.count < MemoryLayout.size(ofValue: address.sun_path) {
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        isConnected = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
            }
        }
    }
    guard isConnected else {
        close(descriptor)
        return nil
    }
    return descriptor
}
