import Foundation
import TestSupport
import Testing

/// The program, running, with a store of one driver in a directory of the test's own.
final class Plugin {
    let driver: String
    let root: String
    let socket: String
    private let log: String
    private let words: [String]
    private var daemon: Daemon
    private let ground: PluginGround
    private var connection: PluginClient?
    private var hasStopped = false
    private let isWatched: Bool
    private var disk: Mount?
    /// Watches the calls of one that was made so, to the store's file system.
    private(set) var watch: CallWatch?

    static let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
        .appending(path: "docker-ldiff-graphdriver").path

    var home: String { root + "/ldiff" }

    /// Starts it and, unless told otherwise, opens the store as Docker does. With `isWatched` Docker's root is a file system of
    /// its own, in memory.
    init(
        _ driver: String = "overlay2", opens: Bool = true, options: [String] = [], words: [String] = [],
        descriptorLimit: Int? = nil, isWatched: Bool = false
    ) throws {
        self.driver = driver
        ground = try PluginGround.make(driver)
        root = ground.root
        let directory = ground.directory.path
        // In a directory that it has to make.
        socket = directory + "/run/ldiff.sock"
        log = directory + "/plugin.log"
        self.isWatched = isWatched
        if isWatched { disk = try Mount("tmpfs", at: root, options: "size=64m") }
        let limit = try isWatched ? CallWatch.prefix() : descriptorLimit.map { ["prlimit", "--nofile=\($0)"] } ?? []
        self.words = limit + [Self.program, "--driver", driver, "--address", socket, "--log-level", "debug"] + words
        daemon = try Daemon(self.words, log: log)
        try settle()
        if opens { try open(options) }
    }

    /// Starts another process, after one that has ended; `plan` is for its very first calls where it is watched.
    func start(_ plan: (CallWatch) -> Void = { _ in }) throws {
        connection = nil
        daemon = try Daemon(words, log: log)
        try settle(plan)
    }

    /// Waits until the process that was just started listens.
    private func settle(_ plan: (CallWatch) -> Void = { _ in }) throws {
        if isWatched {
            watch = nil
            let new = try CallWatch(daemon.process, store: root)
            plan(new)
            new.go()
            watch = new
        }
        try daemon.wait(until: "listening") { [socket] in accepts(socket: socket) }
    }

    /// Ends the process at once.
    func kill() {
        connection = nil
        daemon.kill()
    }

    /// The connection that is kept open.
    var client: PluginClient {
        get throws {
            if let connection { return connection }
            let new = try PluginClient(socket)
            connection = new
            return new
        }
    }

    /// The next call makes a new one.
    func forgetConnection() { connection = nil }

    var logText: String { String(decoding: (try? readFile(log)) ?? [], as: UTF8.self) }
    var process: pid_t { daemon.process }

    func open(_ options: [String] = []) throws {
        let list = options.map { "\"\($0)\"" }.joined(separator: ",")
        try client.graph("Init", #"{"Home":"\#(home)","Opts":[\#(list)],"UIDMaps":null,"GIDMaps":null}"#)
    }

    /// Ends the process at once and starts another.
    func crash() throws {
        kill()
        try start()
    }

    /// Ends the process as systemd does and starts another.
    func restart() throws {
        connection = nil
        try daemon.stop()
        try start()
    }

    /// Waits until the process has written down that it unpacks a layer, which is what the next process knows.
    func waitUntilApplying(_ id: String) throws {
        let line = "applying " + id.utf8.map { String($0, radix: 16) }.joined()
        try daemon.wait(until: "unpacking \(id)") {
            String(decoding: (try? readFile(socket + ".state")) ?? [], as: UTF8.self).contains(line)
        }
    }

    /// Waits until the process has ended by the signal that a test sent.
    func waitForEnd() throws { try daemon.stop() }

    /// Removes every layer in this order, closes the store and ends the process; nothing may be left.
    func finish(removing ids: [String] = [], sourceLocation: SourceLocation = #_sourceLocation) throws {
        for id in ids { try remove(id) }
        #expect(try Leftovers.mounts(below: home) == [], sourceLocation: sourceLocation)
        try client.graph("Cleanup")
        connection = nil
        try daemon.stop()
        hasStopped = true
        #expect(access(socket, F_OK) != 0, "the socket is left", sourceLocation: sourceLocation)
        let left = try Leftovers.clear(below: home, seconds: 20)
        #expect(left.isEmpty, "left: \(left)", sourceLocation: sourceLocation)
        try disk?.unmount()
        try ground.takeDown()
    }

    deinit {
        connection = nil
        daemon.kill()
        guard !hasStopped else { return }
        _ = try? Leftovers.clear(below: home, seconds: 1)
        if isWatched { umount2(root, Int32(MNT_DETACH)) }
        try? ground.takeDown()
    }

    // MARK: The calls in the words of the tests

    private func body(_ id: String, _ parent: String?) -> String {
        parent.map { #"{"ID":"\#(id)","Parent":"\#($0)"}"# } ?? #"{"ID":"\#(id)"}"#
    }

    func create(_ id: String, on parent: String? = nil, readWrite: Bool = true) throws {
        try client.graph(readWrite ? "CreateReadWrite" : "Create", body(id, parent))
    }

    func remove(_ id: String) throws { try client.graph("Remove", body(id, nil)) }

    func exists(_ id: String) throws -> Bool { try client.graph("Exists", body(id, nil))["Exists"] as? Bool ?? false }

    func get(_ id: String) throws -> String {
        guard let path = try client.graph("Get", body(id, nil))["Dir"] as? String else {
            throw TestFailure("Get \(id) gave no directory")
        }
        return path
    }

    func put(_ id: String) throws { try client.graph("Put", body(id, nil)) }

    func inside(_ id: String, _ body: (String) throws -> Void) throws {
        let path = try get(id)
        let result = Result { try body(path) }
        try put(id)
        try result.get()
    }

    func build(_ id: String, _ body: (TreeBuilder) throws -> Void) throws {
        try inside(id) { try body(TreeBuilder($0)) }
    }

    func layer(_ id: String, on parent: String? = nil, _ body: (TreeBuilder) throws -> Void) throws {
        try create(id, on: parent)
        try build(id, body)
    }

    func diff(_ id: String, since parent: String?) throws -> [UInt8] {
        let response = try client.call("GraphDriver.Diff", body(id, parent))
        guard response.status == 200, response.isComplete else { throw TestFailure("Diff \(id): \(response)") }
        return response.body
    }

    /// The size that the plugin answers with.
    @discardableResult
    func apply(_ tar: [UInt8], to id: String, onto parent: String?) throws -> Int {
        let response = try client.apply(id, onto: parent ?? "", tar)
        guard response.status == 200, response.failure.isEmpty, let size = try response.json["Size"] as? Int else {
            throw TestFailure("ApplyDiff \(id): \(response)")
        }
        return size
    }

    func size(_ id: String, since parent: String?) throws -> Int {
        guard let size = try client.graph("DiffSize", body(id, parent))["Size"] as? Int else {
            throw TestFailure("DiffSize \(id) gave no size")
        }
        return size
    }

    /// Lines as `A /path`, sorted by path.
    func changes(_ id: String, since parent: String?) throws -> [String] {
        guard let list = try client.graph("Changes", body(id, parent))["Changes"] as? [[String: Any]] else {
            throw TestFailure("Changes \(id) gave no list")
        }
        return sortedByPath(
            try list.map { item in
                guard let path = item["Path"] as? String, let kind = item["Kind"] as? Int, (0...2).contains(kind) else {
                    throw TestFailure("no change: \(item)")
                }
                return "\(["C", "A", "D"][kind]) \(path)"
            })
    }

    func metadata(_ id: String) throws -> [String: String] {
        try client.graph("GetMetadata", body(id, nil))["Metadata"] as? [String: String] ?? [:]
    }

    func status() throws -> [[String]] { try client.graph("Status")["Status"] as? [[String]] ?? [] }
}

/// Lines `K /path` by the bytes of the path.
func sortedByPath(_ lines: [String]) -> [String] {
    lines.sorted { Array($0.utf8.dropFirst(2)).lexicographicallyPrecedes(Array($1.utf8.dropFirst(2))) }
}
