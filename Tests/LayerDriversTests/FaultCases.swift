import Glibc
import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// One operation that is interrupted at each of its system calls, and what may be found afterwards.
struct InterruptedOperation: Sendable, CustomTestStringConvertible {
    var testDescription: String
    /// For driver-fault.
    var words: [String]
    /// Makes the state before the operation.
    var prepare: @Sendable (DriverStore) throws -> Void
    /// Throws or records an issue unless the store is in the state before or after; tells which.
    var state: @Sendable (DriverStore) throws -> State
    /// Every so many calls are tried; 1 tries them all.
    var step = 1
    /// Whether a failure may come when the state has changed: after one of several steps, or while what was taken out of
    /// the store is being deleted.
    var mayFailAfterwards = false
    /// Whether the layer may stay unfinished, which check finds and leaves.
    var mayStayUnfinished = false
    /// Whether nothing is to change, so that the state before is the state after.
    var changesNothing = false

    enum State: Equatable { case before, middle, after }
}

/// What every operation leaves when the process is killed, or a call fails, at any of its system calls.
enum FaultCases {
    static let kill: Int32 = 100_000
    static let layer = Tar.archive([
        D("d/"), F("d/one", "first"), F("d/two", "second"), H("d/link", "d/one"), S("s", "d/one"), W(".wh.gone"),
    ])

    static let operations: [InterruptedOperation] = [
        InterruptedOperation(
            testDescription: "create a base layer", words: ["create", "new", "-"], prepare: { _ in },
            state: { try created($0, []) }),
        InterruptedOperation(
            testDescription: "create a layer", words: ["create", "new", "Base"], prepare: { _ in },
            state: { try created($0, ["gone", "kept"]) }),
        InterruptedOperation(
            testDescription: "create a container's layer on one", words: ["create-rw", "new", "Child"],
            prepare: { _ in },
            state: { try created($0, ["child", "gone", "kept"]) }, step: 2),
        InterruptedOperation(
            testDescription: "apply a layer", words: ["apply", "new", "Base", "LAYER"],
            prepare: { try $0.create("new", on: "Base", readWrite: false) },
            state: { store in
                switch try store.snapshot("new").paths {
                case ["gone", "kept"]: return .before
                case ["d/", "d/link", "d/one", "d/two", "kept", "s"]: return .after
                case let paths: throw TestFailure("a part of the layer: \(paths)")
                }
            }),
        InterruptedOperation(
            testDescription: "make a layer of an archive", words: ["import", "new", "Base", "LAYER"],
            prepare: { _ in }, state: { try imported($0) }),
        InterruptedOperation(
            testDescription: "make a layer and fill it later", words: ["fill", "new", "Base", "LAYER"],
            prepare: { _ in }, state: { try imported($0) }, mayFailAfterwards: true, mayStayUnfinished: true),
        InterruptedOperation(
            testDescription: "remove a layer", words: ["remove", "new"],
            prepare: { store in
                try store.create("new", on: "Base", readWrite: false)
                try store.apply(layer, to: "new", onto: "Base")
            },
            state: { store in
                guard try store.exists("new") else { return .after }
                guard try store.snapshot("new").paths == ["d/", "d/link", "d/one", "d/two", "kept", "s"] else {
                    throw TestFailure("a half-removed layer exists")
                }
                return .before
            }, mayFailAfterwards: true),
        InterruptedOperation(
            testDescription: "look at a layer", words: ["look", "Child", "Base"], prepare: { _ in },
            state: { store in
                guard try store.snapshot("Child").paths == ["child", "gone", "kept"] else {
                    throw TestFailure("the layer has changed")
                }
                return .after
            }, mayFailAfterwards: true, changesNothing: true),
        InterruptedOperation(
            testDescription: "make a layer that is there", words: ["create-again", "new", "Base"],
            prepare: { store in
                try store.create("new", on: "Base", readWrite: false)
                try store.apply(layer, to: "new", onto: "Base")
            },
            state: { store in
                // What cannot be looked at is not gone: nothing may be put in its place.
                guard try store.exists("new") else { throw TestFailure("the layer is gone") }
                let paths = try store.snapshot("new").paths
                guard paths == ["d/", "d/link", "d/one", "d/two", "kept", "s"] else {
                    throw TestFailure("the layer was replaced: \(paths)")
                }
                return .after
            }, mayFailAfterwards: true, changesNothing: true),
        InterruptedOperation(
            testDescription: "mount, write, unmount", words: ["write", "new"],
            prepare: { try $0.create("new", on: "Base") },
            state: { store in
                switch try store.snapshot("new").paths {
                case ["gone", "kept"]: return .before
                case ["gone", "kept", "written"]: return .after
                case let paths: throw TestFailure("the container has \(paths)")
                }
            }, step: 2, mayFailAfterwards: true),
        InterruptedOperation(
            testDescription: "commit", words: ["commit", "Child", "Base", "new"], prepare: { _ in },
            state: { store in
                guard try store.exists("new") else { return .before }
                switch try store.snapshot("new").paths {
                case ["gone", "kept"]: return .middle
                case ["child", "gone", "kept"]: return .after
                case let paths: throw TestFailure("a part of the layer: \(paths)")
                }
            }, step: 3, mayFailAfterwards: true),
    ]

    /// There is all of the layer, or there is none: not even an empty one, for a moment.
    private static func imported(_ store: DriverStore) throws -> InterruptedOperation.State {
        guard try store.exists("new") else { return .before }
        let paths = try store.snapshot("new").paths
        // A dataset is made first and filled then.
        if store.facts.name == .zfs, paths == ["gone", "kept"] { return .middle }
        guard paths == ["d/", "d/link", "d/one", "d/two", "kept", "s"] else {
            throw TestFailure("a layer that is not complete: \(paths)")
        }
        return .after
    }

    private static func created(_ store: DriverStore, _ expected: [String]) throws -> InterruptedOperation.State {
        guard try store.exists("new") else { return .before }
        guard try store.snapshot("new").paths == expected else { throw TestFailure("a half-made layer exists") }
        return .after
    }

    /// A store with two layers, which has been used.
    static func usedStore(_ facts: DriverFacts) throws -> DriverStore {
        let store = try DriverStore(facts)
        try store.layer("Base") { tree in
            try tree.file("kept", "kept")
            try tree.file("gone", "gone")
        }
        try store.layer("Child", on: "Base") { try $0.file("child", "child") }
        // Makes what stays in a store after its first use, such as the marks of parents.
        for id in ["first", "second"] {
            try store.create(id, on: id == "first" ? "Base" : "Child")
            try store.inside(id) { _ in }
            try store.remove(id)
        }
        return store
    }

    /// Runs the operation once for each of its calls with the fault, and looks at what is left.
    static func run(_ operation: InterruptedOperation, _ facts: DriverFacts, error: Int32) throws {
        let store = try usedStore(facts)
        let file = store.ground.root + "/layer.tar"
        try TreeBuilder(store.ground.root).write("layer.tar", layer)
        let words = operation.words.map { $0 == "LAYER" ? file : $0 }
        let empty = try store.listing()
        let step = setting("LDIFF_EVERY_CALL") == nil ? operation.step * facts.faultStep * (error == kill ? 2 : 3) : 1
        let first = 1 + (DriverName.allCases.firstIndex(of: facts.name) ?? 0) * (operation.step + 1) % step

        var calls = 0
        var seen: Set<String> = []
        var call = 0
        repeat {
            try operation.prepare(store)
            let before = try store.listing()
            store.close()
            let result = try fault(store, call, call == 0 ? 0 : error, words)
            let left = try store.listing()
            try store.restart()
            let what = "\(operation.testDescription), call \(call) of \(calls): \(result.text)"
            #expect(!result.text.contains("wrong answer"), "\(what)")
            do {
                let state = try settle(store, operation, what)
                seen.insert("\(state)")
                if call == 0 {
                    calls = try #require(Int(result.text.dropFirst("calls ".count)), "\(what)")
                    try #require(calls > 5, "is this a debug build? \(what)")
                    #expect(state == .after, "\(what)")
                } else if error == kill {
                    // An operation that waits for others may make a call less than when they were counted.
                    let isOver =
                        result.text.hasPrefix("calls ") && Int(result.text.dropFirst("calls ".count)) ?? call < call
                    #expect(isOver ? state == .after : result.status == 128 + SIGKILL, "\(what)")
                } else if result.text.hasPrefix("error") {
                    // A failure leaves what was there, without help from the next start.
                    #expect(state == .before || operation.mayFailAfterwards, "\(what)")
                    let litter = Set(left).symmetricDifference(before).filter { !$0.hasSuffix("/work/work") }
                    if state == .before, !operation.mayStayUnfinished { #expect(litter.isEmpty, "\(what)") }
                } else {
                    #expect(state == .after, "\(what)")
                    // Whoever goes on after a failure may leave what the next start sweeps.
                }
            } catch {
                Issue.record("\(what): \(error)")
            }
            try store.remove("new")
            let litter = try Set(store.listing()).symmetricDifference(empty)
            #expect(litter.isEmpty, "\(what)")
            // Always the same calls, so that no change is judged by luck.
            call += call == 0 ? max(1, setting("LDIFF_CALL") ?? first) : step
        } while call <= calls
        #expect(seen.contains("after"), "\(seen)")
        #expect(seen.contains("before") || operation.changesNothing || setting("LDIFF_CALL") != nil, "\(seen)")
        unlink(file)
        try store.finish()
    }

    /// Mends what is there, and tells the state; nothing is wrong any more after it, and only `mounts` of others are left.
    static func settle(
        _ store: DriverStore, _ operation: InterruptedOperation, _ what: String, mounts: [String] = []
    ) throws -> InterruptedOperation.State {
        _ = try store.driver.check(repair: true)
        let rest = try store.driver.check(repair: false).filter {
            !operation.mayStayUnfinished || $0.kind != .unfinished || !$0.path.description.hasSuffix("/new")
        }
        #expect(rest.isEmpty, "\(what): \(rest)")
        let state = try operation.state(store)
        // What the killed process had mounted is mounted still, and unmounted like any mount of an earlier daemon.
        try store.driver.cleanup()
        #expect(try mountPoints(below: store.home) == mounts, "\(what)")
        for (id, paths) in [("Base", ["gone", "kept"]), ("Child", ["child", "gone", "kept"])] {
            #expect(try store.snapshot(id).paths == paths, "\(what)")
        }
        return state
    }

    static func fault(
        _ store: DriverStore, _ call: Int, _ error: Int32, _ words: [String]
    ) throws -> (status: Int32, text: String) {
        let program = try programBesideTests("driver-fault")
        let result = try runProgram(
            ["timeout", "60", program, store.facts.faultName, store.home, "\(call)", "\(error)"] + words)
        try store.facts.afterKill(store.ground)
        return (result.status, result.lines.first ?? "nothing said, status \(result.status) \(result.errors)")
    }
}

extension [InterruptedOperation] {
    /// All of them, or those that LDIFF_CASES names.
    var possible: [InterruptedOperation] {
        guard let pattern = getenv("LDIFF_CASES").map({ String(cString: $0) }) else { return self }
        guard let expression = try? Regex(pattern) else { return [] }
        return filter { $0.testDescription.contains(expression) }
    }
}
