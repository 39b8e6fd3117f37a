import Glibc
import LayerDrivers
import LayerModel
import Synchronization
import TestSupport
import Testing

/// A store of one driver in a place of its own, and the checks that it leaves nothing behind.
final class DriverStore {
    let facts: DriverFacts
    let ground: DriverGround
    let home: String
    /// What the driver said.
    let log = LogLines()
    private var opened: (any LayerDriver)?
    private let listingWhenEmpty: [String]
    private var isDown = false

    init(_ facts: DriverFacts, on ground: DriverGround? = nil, options: [String]? = nil) throws {
        self.facts = facts
        self.ground = try ground ?? facts.ground()
        home = self.ground.root + "/" + facts.name.rawValue
        do {
            opened = try facts.open(facts.name, Self.configuration(facts, home, options, log))
            listingWhenEmpty = try Self.listing(home, self.ground, facts)
        } catch {
            Self.unmountAll(below: self.ground.root)
            try? self.ground.takeDown()
            throw error
        }
    }

    private static func configuration(
        _ facts: DriverFacts, _ home: String, _ options: [String]?, _ log: LogLines
    ) -> DriverConfiguration {
        var configuration = DriverConfiguration(home: PathBytes(home), options: options ?? facts.options)
        configuration.log = { log.add("\($0): \($1)") }
        return configuration
    }

    var driver: any LayerDriver {
        guard let opened else { preconditionFailure("the store is closed") }
        return opened
    }

    /// Ends the driver as a crash would: mounts stay, counters are forgotten.
    func close() { opened = nil }

    /// Opens the store anew, as after a restart of the daemon.
    func restart(options: [String]? = nil) throws {
        close()
        opened = try facts.open(facts.name, Self.configuration(facts, home, options, log))
    }

    /// Removes all layers, and checks that nothing is left: no mount, no descriptor, no file, no dataset.
    func finish(sourceLocation: SourceLocation = #_sourceLocation) throws {
        let mounts = try mountPoints(below: home)
        #expect(mounts.isEmpty, "mounted after the test", sourceLocation: sourceLocation)
        try removeAll()
        let left = try Self.listing(home, ground, facts).filter { !listingWhenEmpty.contains($0) }
        #expect(left.isEmpty, "left in the store", sourceLocation: sourceLocation)
        try driver.cleanup()
        close()
        let files = try openFiles().filter { $0.hasPrefix(ground.root) }
        #expect(files.isEmpty, "left open", sourceLocation: sourceLocation)
        try takeDown()
    }

    /// Removes every layer, children before their parents.
    func removeAll() throws {
        var parents: [LayerID: LayerID] = [:]
        for id in try driver.layers() {
            // A layer whose chain is damaged must be removable, too.
            parents[id] = (try? driver.parent(of: id)) ?? nil
        }
        var left = Set(try driver.layers())
        while !left.isEmpty {
            let needed = Set(left.compactMap { parents[$0] })
            let leaves = left.subtracting(needed)
            guard !leaves.isEmpty else { throw TestFailure("layers that are each other's parents: \(left)") }
            for id in leaves { try driver.remove(id) }
            left.subtract(leaves)
        }
        #expect(try driver.layers().isEmpty)
    }

    private func takeDown() throws {
        isDown = true
        try ground.takeDown()
    }

    deinit {
        opened = nil
        guard !isDown else { return }
        Self.unmountAll(below: home)
        try? ground.takeDown()
    }

    /// Every path in the store and everything of it outside, without what may stay.
    private static func listing(_ home: String, _ ground: DriverGround, _ facts: DriverFacts) throws -> [String] {
        let result = try runProgram(["find", home, "-mindepth", "1", "-printf", "%P\\n"])
        guard result.status == 0 else { throw TestFailure("find \(home): \(result.errors)") }
        return try result.lines.filter { !facts.mayStay.contains($0) }.sorted() + ground.outside()
    }

    static func unmountAll(below path: String) {
        // What is mounted at `path` itself is the test's own.
        for point in (try? mountPoints(below: path))?.reversed() ?? [] where point != path {
            ZFSSession.unmountWhenHeard(point, Int(MNT_DETACH))
        }
    }

    /// Paths below the home directory, without what may stay.
    func listing() throws -> [String] { try Self.listing(home, ground, facts) }
}

/// The mount points at or below `path`, in the kernel's order, read without the code under test.
func mountPoints(below path: String) throws -> [String] {
    let lines = String(decoding: try readFile("/proc/thread-self/mountinfo"), as: UTF8.self).split(separator: "\n")
    return lines.map { String($0.split(separator: " ")[4]) }.filter { $0 == path || $0.hasPrefix(path + "/") }
}

/// What a driver logged, from any thread.
final class LogLines: Sendable {
    private let lines = Mutex<[String]>([])
    func add(_ line: String) { lines.withLock { $0.append(line) } }
    var all: [String] { lines.withLock { $0 } }
}

/// Ten milliseconds.
func sleepBriefly() { usleep(10_000) }
