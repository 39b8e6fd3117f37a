import Glibc
import LayerDrivers
import LayerModel
import Synchronization
import TestSupport
import Testing

/// Many threads at work in one store at once, after which nothing may leak.
///
/// Five seconds; LDIFF_STRESS_SECONDS says how many others, LDIFF_STRESS_THREADS how many threads.
enum ConcurrencyCases {
    static func run(_ facts: DriverFacts) throws {
        let before = try HeldByProcess()
        let store = try DriverStore(facts)
        try store.layer("Base") { tree in
            try tree.directory("d")
            for index in 0..<20 { try tree.file("d/file-\(index)", bytes: randomContent(1000 + index, seed: index)) }
        }
        try store.layer("Shared", on: "Base") { tree in
            try tree.file("shared", "shared")
            try tree.remove("d/file-3")
        }
        let layer = try store.diff("Shared", since: "Base")
        let seconds = setting("LDIFF_STRESS_SECONDS") ?? 5
        let start = ContinuousClock.now
        let end = start + .seconds(seconds)
        let threads = setting("LDIFF_STRESS_THREADS") ?? 16
        do {
            let work = StoreWork(driver: store.driver, layer: layer)
            try onThreads(threads) { thread in
                var random = SeededNumbers(seed: UInt64(thread + 1))
                var round = 0
                while ContinuousClock.now < end || round == 0 {
                    try work.oneRound(thread, round, &random)
                    round += 1
                }
            }
            #expect(work.rounds.load(ordering: .relaxed) >= threads)
            print("\(facts.label): \(threads) threads, \(ContinuousClock.now - start): \(work.told)")
        }
        #expect(try store.changes("Shared", since: "Base") == ["C /d", "D /d/file-3", "A /shared"])
        // Layers of the last rounds are removed by their threads; what the threads fought for may be there.
        try store.remove("contested")
        #expect(try store.driver.layers() == [LayerID("Base"), LayerID("Shared")])
        let findings = try store.driver.check(repair: false)
        #expect(findings.isEmpty, "\(findings)")
        try store.finish()
        #expect(Leftovers.processes(naming: store.ground.root).map(\.command) == [])
        let after = try HeldByProcess()
        // Tests beside this one mount in directories of their own.
        let mounts = after.mounts.subtracting(before.mounts).filter {
            $0.contains(store.ground.root) || !$0.contains("/ldiff-test-")
        }
        #expect(mounts == [])
        #expect(after.files.subtracting(before.files) == [])
    }
}

/// What a process could leak: mounts of its namespace, its descriptors.
private struct HeldByProcess {
    let mounts: Set<String>
    let files: Set<String>

    init() throws {
        mounts = try Set(Leftovers.mounts(below: ""))
        // What the libraries keep for themselves carries a number; the session of zfs-fuse has a pipe.
        files = try Set(openFiles().filter { $0.hasPrefix("/") })
    }
}

/// A number from the environment.
func setting(_ name: String) -> Int? { getenv(name).flatMap { Int(String(cString: $0)) } }

/// What one thread does to a store that others use, too.
private final class StoreWork: Sendable {
    let driver: any LayerDriver
    let layer: [UInt8]
    let rounds = Atomic<Int>(0)
    private let creates = Atomic<Int>(0)
    private let mounts = Atomic<Int>(0)
    private let diffs = Atomic<Int>(0)
    private let applies = Atomic<Int>(0)
    private let removes = Atomic<Int>(0)

    /// How much was done.
    var told: String {
        let counts = [
            ("rounds", rounds.load(ordering: .relaxed)), ("creates", creates.load(ordering: .relaxed)),
            ("mounts", mounts.load(ordering: .relaxed)), ("diffs, changes and sizes", diffs.load(ordering: .relaxed)),
            ("applies", applies.load(ordering: .relaxed)), ("removes", removes.load(ordering: .relaxed)),
        ]
        return counts.map { "\($0.1) \($0.0)" }.joined(separator: ", ")
    }

    private func create(_ id: LayerID, _ parent: LayerID, readWrite: Bool = false) throws(LayerError) {
        creates.add(1, ordering: .relaxed)
        if readWrite {
            try driver.createReadWrite(id, parent: parent, options: CreateOptions())
        } else {
            try driver.create(id, parent: parent, options: CreateOptions())
        }
    }

    private func apply(_ id: LayerID, _ parent: LayerID) throws(LayerError) {
        applies.add(1, ordering: .relaxed)
        var stream = MemorySource(layer)
        _ = try driver.applyDiff(id, onto: parent, from: &stream)
    }

    private func remove(_ id: LayerID) throws(LayerError) {
        removes.add(1, ordering: .relaxed)
        try driver.remove(id)
    }

    init(driver: any LayerDriver, layer: [UInt8]) {
        self.driver = driver
        self.layer = layer
    }

    func oneRound(_ thread: Int, _ round: Int, _ random: inout SeededNumbers) throws {
        let (base, shared) = (try LayerID("Base"), try LayerID("Shared"))
        let own = try LayerID("own-\(thread)-\(round)")
        rounds.add(1, ordering: .relaxed)
        switch random.below(4) {
        case 0:
            // A container on the layer that everybody uses.
            try create(own, shared, readWrite: true)
            try inside(own) { path in
                try TreeBuilder(path).file("own", "\(thread) \(round)")
                guard try readFile(path + "/shared") == Array("shared".utf8) else { throw TestFailure("not mine") }
            }
            try expect(own, shared, ["A /own"])
            try remove(own)
        case 1:
            // An image layer beside the others, and one on it.
            let above = try LayerID("above-\(thread)-\(round)")
            try create(own, base)
            try apply(own, base)
            try create(above, own)
            try expect(own, base, ["C /d", "D /d/file-3", "A /shared"])
            try apply(above, own)
            try remove(above)
            try remove(own)
        case 2:
            // Many readers of one mount.
            try inside(shared) { path in
                guard try names(in: path) == ["d", "shared"] else { throw TestFailure("shared is not mounted") }
                diffs.add(1, ordering: .relaxed)
                var sink = CollectingSink()
                _ = try driver.diff(shared, since: base, into: &sink)
                guard sink.bytes == layer else { throw TestFailure("another layer") }
            }
            diffs.add(1, ordering: .relaxed)
            _ = try driver.diffSize(shared, since: nil)
            _ = try driver.layers()
        default: try fight(base)
        }
    }

    /// Everybody makes, mounts and removes one and the same layer; only the errors that this brings may come.
    private func fight(_ base: LayerID) throws {
        let id = try LayerID("contested")
        do {
            try create(id, base, readWrite: true)
        } catch {
            guard error.code == .alreadyExists else { throw error }
        }
        do {
            mounts.add(1, ordering: .relaxed)
            _ = try driver.get(id, options: MountOptions())
            try driver.put(id)
        } catch {
            guard error.code == .notFound else { throw error }
        }
        do { try remove(id) } catch { guard error.code == .inUse else { throw error } }
    }

    private func inside(_ id: LayerID, _ body: (String) throws -> Void) throws {
        mounts.add(1, ordering: .relaxed)
        let mounted = try driver.mount(id)
        let result = Result { try body(String(decoding: mounted.path.bytes, as: UTF8.self)) }
        try mounted.release()
        try result.get()
    }

    private func expect(_ id: LayerID, _ parent: LayerID, _ expected: [String]) throws {
        diffs.add(1, ordering: .relaxed)
        var lines: [String] = []
        try driver.changes(id, since: parent) { (kind, path) throws(LayerError) in
            lines.append("\(String(UnicodeScalar(kind.letter))) \(escapedText(path.copied()))")
        }
        guard lines == expected else { throw TestFailure("\(id): \(lines) instead of \(expected)") }
    }
}
