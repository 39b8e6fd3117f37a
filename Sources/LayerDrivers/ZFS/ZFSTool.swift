import LayerModel
import LayerMounts
import Synchronization

/// The programs `zfs` and `zpool`, of OpenZFS or of zfs-fuse.
///
/// Every command runs with LC_ALL=C and is logged with a number at its start and its end.
struct ZFSTool: Sendable {
    /// Runs a program; the tests put a recording here.
    typealias Runner = @Sendable (Command) throws(LayerError) -> CommandResult

    /// What only asks.
    var query: ZFSQuery { ZFSQuery(self) }

    private let run: Runner
    private let log: @Sendable (DriverConfiguration.LogLevel, String) -> Void
    private static let numbers = Atomic<Int>(0)
    /// Destroying a large dataset, or waiting for a pool that is busy, takes its time.
    private static let timeoutMilliseconds = 300_000

    init(
        log: @escaping @Sendable (DriverConfiguration.LogLevel, String) -> Void,
        run: @escaping Runner = { (command) throws(LayerError) in try CommandRunner.run(command) }
    ) {
        self.log = log
        self.run = run
    }

    /// Runs `zfs` with arguments of text and paths; returns what it printed.
    @discardableResult
    func zfs(_ arguments: [String], _ paths: [PathBytes] = []) throws(ZFSFailure) -> [UInt8] {
        try call("zfs", arguments.map { Array($0.utf8) } + paths.map(\.bytes))
    }

    func zpool(_ arguments: [String]) throws(ZFSFailure) -> [UInt8] {
        try call("zpool", arguments.map { Array($0.utf8) })
    }

    private func call(_ program: String, _ arguments: [[UInt8]]) throws(ZFSFailure) -> [UInt8] {
        let number = Self.numbers.add(1, ordering: .relaxed).newValue
        let line = ([program] + arguments.map(escapedText)).joined(separator: " ")
        log(.debug, "[zfs] \(number) \(line)")
        let command = Command(
            PathBytes(program), arguments, timeoutMilliseconds: Self.timeoutMilliseconds, package: "zfsutils-linux")
        let result: CommandResult
        do throws(LayerError) { result = try run(command) } catch { throw .notRun(error) }
        log(.debug, "[zfs] \(number) finished")
        guard !result.succeeded else { return result.standardOutput }
        throw .failed(ZFSFailure.Ended(line: line, ending: result.ending, said: result.errorText))
    }
}

/// Asks `zfs` and `zpool`, and changes nothing: all that a store which is looked at has of them.
struct ZFSQuery: Sendable {
    private let tool: ZFSTool

    init(_ tool: ZFSTool) { self.tool = tool }

    /// Runs `zfs get`; returns what it printed.
    func get(_ arguments: [String]) throws(ZFSFailure) -> [UInt8] { try tool.zfs(["get"] + arguments) }

    /// Runs `zpool list`.
    func pools(_ arguments: [String]) throws(ZFSFailure) -> [UInt8] { try tool.zpool(["list"] + arguments) }
}

/// A command of `zfs` or `zpool` that failed.
enum ZFSFailure: Error, Sendable {
    /// It could not be started.
    case notRun(LayerError)
    case failed(Ended)

    struct Ended: Sendable {
        var line: String
        var ending: CommandResult.Ending
        /// Its standard error, without the newline at the end.
        var said: String
    }

    /// The kinds of failure that the driver treats differently, told by the words of OpenZFS and zfs-fuse.
    enum Kind: Sendable {
        case missing
        case exists
        case busy
        case dependentClones
        case legacyMountpoint
        case noSpace
        case badValue
        case notPermitted
        /// The command, option or property does not exist in this version.
        case unknownToVersion
        case unavailable
        case other
    }

    var kind: Kind {
        guard case .failed(let ended) = self else { return .unavailable }
        let said = ended.said
        let words: [(String, Kind)] = [
            ("has dependent clones", .dependentClones), ("has children", .dependentClones),
            ("dataset does not exist", .missing), ("parent does not exist", .missing),
            ("could not find any snapshots", .missing), ("no such pool", .missing),
            ("dataset already exists", .exists), ("is busy", .busy), ("target is busy", .busy),
            // zfs-fuse, while a file system that was just unmounted is being closed.
            ("cannot rollback", said.hasSuffix("I/O error") ? .busy : .other),
            ("legacy mountpoint", .legacyMountpoint), ("out of space", .noSpace), ("No space left", .noSpace),
            ("bad numeric value", .badValue), ("is less than current used", .badValue),
            ("must be", .badValue), ("invalid character", .badValue), ("name is too long", .badValue),
            ("too many", .badValue), ("permission denied", .notPermitted), ("unrecognized command", .unknownToVersion),
            ("invalid option", .unknownToVersion), ("invalid property", .unknownToVersion),
            ("failed to initialize ZFS library", .unavailable), ("Permission denied the ZFS utilities", .notPermitted),
            ("The ZFS modules are not loaded", .unavailable), ("/dev/zfs", .unavailable),
        ]
        return words.first { said.contains($0.0) }?.1 ?? .other
    }

    /// `exit status N: "COMMAND" => WHAT IT SAID`.
    var text: String {
        switch self {
        case .notRun(let error): return error.description
        case .failed(let ended):
            let ending =
                switch ended.ending {
                case .exited(let status): "exit status \(status)"
                case .killed(let signal): "killed by signal \(signal)"
                case .timedOut: "no end in time"
                }
            return "\(ending): \"\(ended.line)\" => \(ended.said)"
        }
    }

    /// The error for whoever called the driver.
    func error(_ operation: String, _ path: PathBytes?, hint: String? = nil) -> LayerError {
        if case .notRun(let error) = self { return error }
        let code: LayerError.Code =
            switch kind {
            case .missing: .notFound
            case .exists: .alreadyExists
            case .busy, .dependentClones: .inUse
            case .noSpace: .noSpace
            case .badValue: .invalidArgument
            case .notPermitted: .notPermitted
            case .unknownToVersion: .unsupported
            case .unavailable: .driverUnavailable
            case .legacyMountpoint, .other: .io
            }
        return LayerError(code, operation, path: path, cause: .reason(text), hint: hint ?? self.hint)
    }

    private var hint: String? {
        switch kind {
        case .noSpace: "free some space: zfs list -o space shows where it is"
        case .unavailable: "load the zfs module, or start zfs-fuse"
        case .notPermitted: "run as root"
        default: nil
        }
    }
}

/// Runs a command for `operation`; its failure becomes a `LayerError`.
func attemptZFS<Result>(
    _ operation: String, _ path: PathBytes?, _ body: () throws(ZFSFailure) -> Result
) throws(LayerError) -> Result {
    do throws(ZFSFailure) { return try body() } catch { throw error.error(operation, path) }
}
