// driver-fault DRIVER[:OPTION...] HOME CALL ERRNO OPERATION WORDS...: does one thing in a store, and lets its CALL-th system call fail
// with ERRNO, or the process be killed there (ERRNO 100000); with -ERRNO that call and all after it fail. CALL 0 only counts.
// Prints `calls N` or `error TEXT`.
//
// The tests of crashes run it; only debug builds count calls.
import Glibc
import LayerDrivers
import LayerModel
import LinuxIO
import TestSupport

/// The driver that a word names before its options.
func driverName(_ word: String) -> DriverName? {
    DriverName(rawValue: String(word.prefix { $0 != ":" }))
}

/// A parent's id, or `-` for none.
func parentID(_ word: String) throws -> LayerID? { word == "-" ? nil : try LayerID(word) }

/// One operation; what it needs is read before the calls are counted.
func operation(_ words: ArraySlice<String>, _ driver: any LayerDriver) throws -> () throws -> Void {
    let words = Array(words)
    let id = try LayerID(words[1])
    switch words[0] {
    case "create":
        let parent = try parentID(words[2])
        return { try driver.create(id, parent: parent, options: CreateOptions()) }
    case "create-again":
        // The layer is there: only an error that says so is right.
        let parent = try parentID(words[2])
        return {
            do {
                try driver.create(id, parent: parent, options: CreateOptions())
            } catch let error as LayerError where error.code == .alreadyExists {
                return
            }
            throw TestFailure("wrong answer: a layer that is there was made")
        }
    case "look":
        // An error is right wherever a call fails, another answer is not.
        let parent = try parentID(words[2])
        func expect(_ isRight: Bool, _ what: String) throws {
            guard isRight else { throw TestFailure("wrong answer: \(what)") }
        }
        return {
            try expect(driver.exists(id), "the layer is not there")
            try expect(driver.layers().contains(id), "the layer is in no list")
            try expect(driver.parent(of: id) == parent, "the layer has another parent")
            try expect(!driver.metadata(of: id).isEmpty, "nothing is known of the layer")
            let report = try driver.changes(id, since: parent) { (_, _) throws(LayerError) in }
            try expect(report.added + report.modified + report.deleted == 1, "\(report)")
        }
    case "create-rw":
        let parent = try parentID(words[2])
        return { try driver.createReadWrite(id, parent: parent, options: CreateOptions()) }
    case "remove": return { try driver.remove(id) }
    case "apply":
        let parent = try parentID(words[2])
        let layer = try readFile(words[3])
        return {
            var stream = MemorySource(layer)
            _ = try driver.applyDiff(id, onto: parent, from: &stream)
        }
    case "import":
        // What `ldiff layer apply` does with a layer that is not there.
        let parent = try parentID(words[2])
        let layer = try readFile(words[3])
        return {
            var stream = MemorySource(layer)
            _ = try driver.createLayer(id, on: parent, from: &stream)
        }
    case "fill":
        // What Docker's plugin does: a layer is made, and filled in a second call.
        let parent = try parentID(words[2])
        let layer = try readFile(words[3])
        return {
            var options = CreateOptions()
            options.isUnfinished = true
            try driver.create(id, parent: parent, options: options)
            var stream = MemorySource(layer)
            _ = try driver.applyDiff(id, onto: parent, from: &stream)
        }
    case "pack", "unpack":
        guard let driver = driver as? ErofsDriver else { throw TestFailure("layers have one form only") }
        return { _ = words[0] == "pack" ? try driver.pack(id) : try driver.unpack(id) }
    case "write":
        // A container's life: mounted, written to, unmounted.
        return {
            let mounted = try driver.mount(id)
            let path = String(decoding: mounted.path.bytes, as: UTF8.self)
            try TreeBuilder(path).file("written", "through the mount")
            try mounted.release()
        }
    case "commit":
        // What `docker commit` does: the changes of one layer become another one.
        let (parent, new) = (try parentID(words[2]), try LayerID(words[3]))
        return {
            var sink = CollectingSink()
            _ = try driver.diff(id, since: parent, into: &sink)
            try driver.create(new, parent: parent, options: CreateOptions())
            var stream = MemorySource(sink.bytes)
            _ = try driver.applyDiff(new, onto: parent, from: &stream)
        }
    default: throw TestFailure("unknown operation \(words[0])")
    }
}

let words = CommandLine.arguments
// driver-fault watched PROGRAM WORDS...: becomes a program of which a test watches every call.
if words.count > 2, words[1] == "watched" {
    CallWatch.becomeWatched(Array(words[2...]))
}
guard words.count > 6, let name = driverName(words[1]), let call = UInt64(words[3]),
    let error = Int32(words[4])
else {
    print("usage: driver-fault DRIVER HOME CALL ERRNO OPERATION ID ...")
    exit(64)
}

/// Opens the store, as a process that ends after one thing does.
func open() throws(LayerError) -> any LayerDriver {
    let options = words[1].split(separator: ":").dropFirst().map(String.init)
    var configuration = DriverConfiguration(home: PathBytes(words[2]), options: options)
    // One worker, so that the same call is the same step in each run.
    configuration.workers = 1
    if words[5] == "fill" { configuration.laterFilling = .goesOn }
    // No kernel of today has aufs: it is shown by fuse-overlayfs, as in the tests.
    if name == .aufs { return try AUFSDriver(configuration, system: PretendedAUFS()) }
    return try DriverRegistry.open(name, configuration)
}

if words[5] == "random" {
    var work = try RandomWork(words, open)
    try work.run()
}
do {
    let driver = try open()
    let run = try operation(words[5...], driver)
    if error < 0 { FaultPlan.failAll(from: call, errno: -error) } else { FaultPlan.fail(call: call, errno: error) }
    let result = Result { try run() }
    let calls = FaultPlan.calls
    FaultPlan.fail(call: 0, errno: 0)
    try result.get()
    print("calls \(calls)")
} catch {
    print("error \(error)")
}
