import Glibc
import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// Many processes at work in one store at once.
enum ProcessCases {
    /// Drivers whose processes can work in one store. Not zfs on zfs-fuse, which answers nobody any more when many mount and unmount.
    static let drivers = DriverFacts.chosen.filter { $0.name != .zfs || ZFSPool.isKernel }

    /// The same, and zfs wherever it is named: what zfs-fuse bears is tried by `make test-zfs`.
    static let randomDrivers = DriverFacts.chosen.filter {
        $0.name != .zfs || ZFSPool.isKernel || getenv("LDIFF_DRIVERS") != nil
    }

    private static let program = Result { try programBesideTests("driver-fault") }

    /// A store with a layer to build upon, and a file with a layer that comes out of it as it went in.
    private static func store(_ facts: DriverFacts) throws -> (DriverStore, layer: String) {
        let store = try DriverStore(facts)
        try store.layer("Base") { tree in
            try tree.file("kept", "kept")
            try tree.directory("d")
        }
        try store.create("Model", on: "Base", readWrite: false)
        let archive = Tar.archive([
            D("d/"), F("d/one", "first"), H("d/two", "d/one"), S("link", "d/one"), F("file", "text"),
        ])
        try store.apply(archive, to: "Model", onto: "Base")
        let file = store.ground.root + "/layer.tar"
        try writeFile(file, store.diff("Model", since: "Base"))
        try store.remove("Model")
        return (store, file)
    }

    // MARK: two that make one layer

    /// Of several processes that unpack a layer of one id at once exactly one succeeds, and its layer is there.
    static func oneMaker(_ facts: DriverFacts) throws {
        let (store, layer) = try store(facts)
        let program = try program.get()
        for round in 0..<12 {
            let logs = (0..<3).map { "\(store.ground.root)/log-\(round)-\($0)" }
            let makers = try logs.map { log in
                try Daemon(
                    [program, facts.faultName, store.home, "0", "0", "import", "new", "Base", layer], log: log)
            }
            for maker in makers {
                for _ in 0..<3000 where maker.isRunning { usleep(10_000) }
                #expect(!maker.isRunning, "hangs")
            }
            let said = try logs.map { try fileText($0) }
            #expect(said.filter { $0.hasPrefix("calls ") }.count == 1, "\(said)")
            #expect(said.filter { $0.contains("a layer of this id exists") }.count == 2, "\(said)")
            #expect(try store.exists("new"), "\(said)")
            #expect(try store.diff("new", since: "Base") == readFile(layer), "\(said)")
            #expect(try store.driver.check().isEmpty)
            try store.remove("new")
            for log in logs { unlink(log) }
        }
        unlink(layer)
        try store.finish()
    }

    // MARK: one that is killed

    /// A process that makes a layer is killed at random; whoever looks meanwhile sees all of the layer or none of it.
    static func killedMaker(_ facts: DriverFacts) throws {
        let store = try DriverStore(facts)
        try store.layer("Base") { try $0.file("kept", "kept") }
        try store.create("Model", on: "Base", readWrite: false)
        try store.apply(
            Tar.archive((0..<120).map { F("file-\($0)", String(repeating: "text \($0)", count: 400)) }), to: "Model",
            onto: "Base")
        let layer = store.ground.root + "/layer.tar"
        let whole = try store.diff("Model", since: "Base")
        try writeFile(layer, whole)
        try store.remove("Model")
        let words = [try program.get(), facts.faultName, store.home, "0", "0", "import", "new", "Base", layer]
        let looker = try DriverRegistry.read(facts.name, DriverConfiguration(home: PathBytes(store.home)))
        let (new, log) = (try LayerID("new"), "\(store.ground.root)/log")
        func look() throws -> Bool {
            let isListed = try looker.layers().contains(new)
            guard try looker.exists(new) else {
                #expect(!isListed)
                return false
            }
            // Nobody removes it, so what is there stays there.
            var sink = CollectingSink()
            _ = try looker.diff(new, since: LayerID("Base"), into: &sink)
            #expect(sink.bytes == whole, "\(sink.bytes.count) bytes of \(whole.count)")
            return true
        }
        // How long it takes undisturbed, so that the kills fall into it.
        let clock = ContinuousClock()
        let began = clock.now
        let maker = try Daemon(words, log: log)
        var looks = 0
        while maker.isRunning {
            _ = try look()
            looks += 1
        }
        let took = clock.now - began
        #expect(try look() && looks > 0)
        try store.remove("new")
        var random = SeededNumbers(seed: UInt64(setting("LDIFF_SEED") ?? Int.random(in: 1...1_000_000)))
        var unfinished = 0
        for _ in 0..<12 {
            let maker = try Daemon(words, log: log)
            let end = clock.now + took * Double(random.below(1000)) / 1000
            while clock.now < end { _ = try look() }
            maker.kill()
            try facts.afterKill(store.ground)
            let isThere = try look()
            unfinished += isThere ? 0 : 1
            try store.restart()
            #expect(try look() == isThere)
            // The name in `l/` is made before the layer gets its own: one that a kill left alone leads nowhere.
            let found = try store.driver.check()
            #expect(found.allSatisfy { $0.kind == .link && !isThere }, "\(found)")
            if !found.isEmpty { _ = try store.driver.repair() }
            #expect(try store.driver.check().isEmpty)
            try store.remove("new")
        }
        #expect(unfinished > 0)
        for file in [layer, log] { unlink(file) }
        try store.finish()
    }

    // MARK: random work

    /// Eight processes do random things and are killed at random; LDIFF_STRESS_SECONDS says how long, LDIFF_SEED how they begin.
    static func randomWork(_ facts: DriverFacts) throws {
        let (store, inStore) = try store(facts)
        store.close()
        // What they say and read lies elsewhere: it is no part of the store's load.
        let place = try TemporaryDirectory()
        let layer = place.path + "/layer.tar"
        try writeFile(layer, readFile(inStore))
        unlink(inStore)
        let seconds = setting("LDIFF_STRESS_SECONDS") ?? 3
        let seed = setting("LDIFF_SEED") ?? Int.random(in: 1...1_000_000)
        print("\(facts.label): LDIFF_SEED=\(seed)")
        var random = SeededNumbers(seed: UInt64(seed))
        let program = try program.get()
        var count = 0
        func start(_ index: Int) throws -> Daemon {
            count += 1
            return try Daemon(
                [
                    program, facts.faultName, store.home, "0", "0", "random", "p\(index)", "\(seed + count)", layer,
                    "Base",
                ], log: "\(place.path)/log-\(index)")
        }
        let processes = setting("LDIFF_PROCESSES") ?? 8
        var workers = try (0..<processes).map { try start($0) }
        let end = ContinuousClock.now + .seconds(seconds)
        while ContinuousClock.now < end {
            usleep(useconds_t(50_000 + random.below(200_000)))
            let victim = random.below(processes)
            #expect(workers[victim].isRunning, "ended by itself: \(workers[victim].tail)")
            workers[victim].kill()
            workers[victim] = try start(victim)
        }
        for worker in workers { worker.kill() }
        try facts.afterKill(store.ground)
        try store.restart()
        try compare(store, place.path, processes)
        try store.finish()
    }

    /// What each process was told must be what is there.
    private static func compare(_ store: DriverStore, _ logs: String, _ processes: Int) throws {
        let left = try store.driver.repair().filter { $0.state != .repaired }
        #expect(left.isEmpty, "\(left)")
        #expect(try store.driver.check().isEmpty)
        try store.driver.cleanup()
        #expect(try mountPoints(below: store.home).isEmpty)
        var things = 0
        for index in 0..<processes {
            let lines = try fileText("\(logs)/log-\(index)").split(separator: "\n")
            var model = StoreModel(owner: "p\(index)-")
            for line in lines {
                for wrong in model.take(line) { Issue.record("process \(index): \(line): \(wrong)") }
            }
            for id in 0..<3 {
                let id = "p\(index)-\(id)"
                let kind = try kind(store, id)
                #expect(model.mayBe(id, kind), "\(id) is \(kind), known as \(model.known(id))")
            }
            things += lines.count { $0.hasPrefix("done ") || $0.hasPrefix("saw ") }
        }
        // A machine that is busy with other things does little.
        #expect(things > 20)
        print("\(store.facts.label): \(things) things done")
    }

    private static func kind(_ store: DriverStore, _ id: String) throws -> StoreModel.Kind {
        guard try store.exists(id) else { return .absent }
        let changes = try store.changes(id, since: "Base")
        return changes.isEmpty ? .empty : changes == ["A /own"] ? .written : .layer
    }
}

/// What one process knows of its own layers from what it did: for each layer what it may be.
struct StoreModel {
    enum Kind: String, Hashable { case absent, empty, written, layer }

    let owner: String
    private var layers: [Substring: Set<Kind>] = [:]
    /// The thing that was begun and has not ended.
    private var pending: (what: Substring, id: Substring)?

    init(owner: String) { self.owner = owner }

    func known(_ id: String) -> Set<Kind> { layers[Substring(id)] ?? [.absent] }
    func mayBe(_ id: String, _ kind: Kind) -> Bool {
        var model = self
        model.settle()
        return model.known(id).contains(kind)
    }

    /// Takes one line of a log; returns what is wrong with it.
    mutating func take(_ line: Substring) -> [String] {
        let words = line.split(separator: " ", maxSplits: 4)
        guard words.count >= 3 else { return ["no line of a log"] }
        let id = words[2]
        let isOwn = id.hasPrefix(owner)
        switch words[0] {
        case "begin":
            settle()
            pending = (words[1], id)
        case "done":
            pending = nil
            return isOwn ? done(words[1], id) : []
        case "saw":
            pending = nil
            guard let kind = Kind(rawValue: String(words[1])) else { return ["a part of a layer"] }
            if !isOwn { return kind == .absent || kind == .layer ? [] : ["an image's layer that is \(kind)"] }
            let may = known(String(id))
            layers[id] = [kind]
            return may.contains(kind) ? [] : ["it is \(may)"]
        case "failed":
            pending = nil
            return failed(words[1], id, words.count > 3 ? words[3] : "", isOwn)
        default: return ["no line of a log"]
        }
        return []
    }

    /// The process was killed in the middle of something: it happened or it did not.
    private mutating func settle() {
        let begun = pending
        pending = nil
        guard let (what, id) = begun, id.hasPrefix(owner) else { return }
        layers[id] = known(String(id)).union(known(String(id)).flatMap { Self.after(what, $0) })
    }

    /// What a thing makes of a layer, if it can be done at all.
    private static func after(_ what: Substring, _ kind: Kind) -> [Kind] {
        switch (what, kind) {
        case ("remove", _): [.absent]
        case ("import", .absent): [.layer]
        case ("create", .absent): [.empty]
        case ("write", .empty), ("write", .written): [.written]
        case ("write", .layer): [.layer]
        default: []
        }
    }

    private mutating func done(_ what: Substring, _ id: Substring) -> [String] {
        let before = known(String(id))
        let after = Set(before.flatMap { Self.after(what, $0) })
        layers[id] = after
        return after.isEmpty ? ["it was \(before)"] : []
    }

    private func failed(_ what: Substring, _ id: Substring, _ code: Substring, _ isOwn: Bool) -> [String] {
        // Others make and remove what is everybody's.
        if !isOwn { return ["alreadyExists", "notFound", "fileChanged", "inUse"].contains(code) ? [] : ["failed so"] }
        let may = known(String(id))
        switch (what, code) {
        case ("import", "alreadyExists"), ("create", "alreadyExists"): return may == [.absent] ? ["it was absent"] : []
        case ("write", "notFound"): return may.contains(.absent) ? [] : ["it was \(may)"]
        default: return ["failed so"]
        }
    }
}
