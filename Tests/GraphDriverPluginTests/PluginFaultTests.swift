import Glibc
import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// Every call of the plugin to the file system of its store fails or is its last. The same process goes on afterwards, and so
/// does a new one; what was answered is so, nothing half made is left, and what others keep there is as it was.
@Suite(.serialized) struct PluginFaultTests {
    /// Calls of an operation that are tried, each for itself; every one with LDIFF_EVERY_CALL.
    private static let points = 3
    private static let isThorough = getenv("LDIFF_EVERY_CALL") != nil
    private static let layers = [
        "Base": ["kept"], "Child": ["child"], "Active": ["own"],
    ]

    @Test(arguments: ["overlay2", "overlay", "erofs"], PluginOperation.all)
    func `any call fails, all calls fail, the plugin is killed at any`(
        _ driver: String, _ operation: PluginOperation
    ) throws {
        if let only = getenv("LDIFF_OPERATION").map({ String(cString: $0) }),
            !operation.testDescription.contains(only)
        {
            return
        }
        let plugin = try Plugin(driver, isWatched: true)
        try plugin.layer("Base") { try $0.file("kept", "kept") }
        try plugin.layer("Child", on: "Base") { try $0.file("child", "child") }
        try plugin.layer("Active", on: "Child") { try $0.file("own", "own") }
        let strangers = try ForeignThings(in: Self.places(plugin))
        var points = 0
        for fault in CallWatch.Fault.allCases {
            var one = Case(plugin, operation, fault, strangers)
            try one.attempt(0, lasts: false)
            let step = Self.isThorough || fault == .unsynced ? 1 : max(1, one.calls / Self.points)
            for call in stride(from: 1 + step / 2, through: one.calls, by: step) {
                // Of many calls each fails in one of the two ways only, unless all are tried.
                let both = Self.isThorough || fault == .unsynced
                for lasts in fault == .kill ? [false] : both ? [false, true] : [points % 2 == 1] {
                    points += 1
                    try one.attempt(call, lasts: lasts)
                }
            }
        }
        #expect(points > 0, "nothing was failed")
        strangers.leave()
        plugin.kill()
    }

    /// Where others keep something.
    private static func places(_ plugin: Plugin) -> [String] {
        let inside = plugin.driver == "overlay" ? ["/tempdirs"] : ["/l", "/tempdirs"]
        let found = inside.map { plugin.home + $0 }.filter { access($0, F_OK) == 0 }
        return [plugin.root, plugin.home] + found
    }

    /// One operation that fails in one way.
    private struct Case {
        let plugin: Plugin
        let operation: PluginOperation
        let fault: CallWatch.Fault
        let strangers: ForeignThings
        var calls = 0
        var after: [String: [String]] = [:]

        init(
            _ plugin: Plugin, _ operation: PluginOperation, _ fault: CallWatch.Fault, _ strangers: ForeignThings
        ) {
            self.plugin = plugin
            self.operation = operation
            self.fault = fault
            self.strangers = strangers
        }

        /// Call 0 only counts, and tells the state afterwards.
        mutating func attempt(_ call: Int, lasts: Bool) throws {
            var what =
                "\(operation.testDescription), \(fault.rawValue) \(lasts ? "from" : "at") call \(call) of \(calls)"
            try operation.prepare(plugin)
            let before = try state()
            let watch = try #require(plugin.watch)
            watch.plan(fault, call: call, lasts: lasts)
            var isDone = false
            do {
                try operation.run(plugin)
                isDone = true
            } catch let error as WrongAnswer {
                Issue.record("\(what): \(error.what)")
            } catch {
                what += ": \(error)".prefix(500)
            }
            watch.rest()
            what += " (\(watch.failed))"
            plugin.forgetConnection()
            do {
                if call == 0 {
                    calls = watch.calls
                    #expect(isDone, "\(what)")
                    after = try state()
                } else if fault != .kill {
                    compare(try state(), before, isDone, what + ", the same process")
                }
                plugin.kill()
                try plugin.start()
                compare(try state(), before, isDone, what)
                try check(what)
            } catch {
                Issue.record("\(what): \(error) \(plugin.logText.suffix(600))")
            }
            try clear()
        }

        /// The names in the difference of each layer that is there.
        private func state() throws -> [String: [String]] {
            var found: [String: [String]] = [:]
            for (id, parent) in [("Base", nil), ("Child", "Base"), ("Active", "Child")] where try plugin.exists(id) {
                found[id] = try entryNames(plugin.diff(id, since: parent))
            }
            // For anybody but the plugin a layer that is still to be filled is none.
            let (id, reader) = (try LayerID("new"), try DriverRegistry.read(name, DriverConfiguration(home: home)))
            if try reader.exists(id) {
                let parent = try reader.parent(of: id).map { "\($0)" }
                found["new"] = try entryNames(plugin.diff("new", since: parent)) + [parent ?? "-"]
            }
            return found
        }

        private var home: PathBytes { PathBytes(plugin.home) }

        private var name: DriverName { DriverName(rawValue: plugin.driver) ?? .overlay2 }

        private func compare(_ state: [String: [String]], _ before: [String: [String]], _ isDone: Bool, _ what: String)
        {
            for (id, names) in PluginFaultTests.layers { #expect(state[id] == names, "\(what): \(id)") }
            // A container's layer is empty until it is written to, between two calls.
            let isEmpty = state["new"]?.count == 1 && operation.testDescription.hasPrefix("create")
            #expect(state == before || state == after || isEmpty, "\(what): \(state)")
            if isDone { #expect(state == after, "\(what): what was answered is not so") }
        }

        /// Whatever must hold of the store, once it was mended.
        private func check(_ what: String) throws {
            try plugin.client.graph("Cleanup")
            let mounts = try Leftovers.mounts(below: plugin.root).filter {
                !$0.hasSuffix("/photos/stick") && $0 != plugin.root
            }
            #expect(mounts.isEmpty, "\(what): \(mounts)")
            let driver = try DriverRegistry.open(name, DriverConfiguration(home: home))
            _ = try driver.check(repair: true)
            let findings = try driver.check(repair: false)
            #expect(findings.isEmpty, "\(what): \(findings)")
            let changes = try strangers.changes()
            #expect(changes.isEmpty, "\(what): \(changes.prefix(4))")
        }

        /// The store as it was, with nothing more in it than before.
        private func clear() throws {
            try plugin.remove("new")
            let left = directoryNames(plugin.home + "/tempdirs").filter { name in
                !strangers.names.contains(name)
            }
            #expect(left.isEmpty, "left in tempdirs: \(left)")
        }
    }
}
