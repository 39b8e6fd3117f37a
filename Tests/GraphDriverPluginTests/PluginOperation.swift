import TestSupport
import Testing

/// One thing that Docker has the plugin do, and what it needs before.
struct PluginOperation: Sendable, CustomTestStringConvertible {
    var testDescription: String
    /// Makes the state before, of a layer `new`.
    var prepare: @Sendable (Plugin) throws -> Void = { _ in }
    /// What is failed. Checks what is answered.
    var run: @Sendable (Plugin) throws -> Void

    static let layer = Tar.archive([D("d/"), F("d/one", "first"), H("d/link", "d/one"), W(".wh.kept")])

    static let all: [PluginOperation] = [
        PluginOperation(testDescription: "create a layer, fill it") { plugin in
            try plugin.create("new", on: "Base", readWrite: false)
            try plugin.apply(layer, to: "new", onto: "Base")
        },
        PluginOperation(
            testDescription: "fill a layer", prepare: { try $0.create("new", on: "Base", readWrite: false) }
        ) {
            try $0.apply(layer, to: "new", onto: "Base")
        },
        PluginOperation(testDescription: "create a container's layer") { try $0.create("new", on: "Child") },
        PluginOperation(testDescription: "create the first layer of an image") {
            try $0.create("new", readWrite: false)
            try $0.apply(layer, to: "new", onto: nil)
        },
        PluginOperation(testDescription: "mount, write, unmount", prepare: { try $0.create("new", on: "Child") }) {
            try $0.build("new") { try $0.file("written", "through the mount") }
        },
        PluginOperation(testDescription: "look") { plugin in
            let names = try entryNames(plugin.diff("Active", since: "Child"))
            try expect(names == ["own"], "diff: \(names)")
            let changes = try plugin.changes("Active", since: "Child")
            try expect(changes == ["A /own"], "changes: \(changes)")
            let size = try plugin.size("Active", since: "Child")
            try expect(size == 3, "size: \(size)")
            try expect(try plugin.exists("Base"), "Base is not there")
            let metadata = try plugin.metadata("Child")
            try expect(metadata["UpperDir"] != nil, "metadata: \(metadata)")
            try expect(!(try plugin.status()).isEmpty, "no status")
        },
        PluginOperation(
            testDescription: "remove",
            prepare: { plugin in
                try plugin.create("new", on: "Base", readWrite: false)
                try plugin.apply(layer, to: "new", onto: "Base")
            }
        ) { try $0.remove("new") },
        PluginOperation(testDescription: "commit") { plugin in
            let bytes = try plugin.diff("Active", since: "Child")
            try plugin.create("new", on: "Child", readWrite: false)
            try plugin.apply(bytes, to: "new", onto: "Child")
        },
        PluginOperation(testDescription: "open the store again") { try $0.open() },
        PluginOperation(
            testDescription: "clean up",
            prepare: { plugin in
                try plugin.create("new", on: "Child")
                _ = try plugin.get("new")
            }
        ) { try $0.client.graph("Cleanup") },
    ]

    /// Throws where what was answered is wrong.
    private static func expect(_ condition: Bool, _ what: String) throws {
        guard condition else { throw WrongAnswer(what: what) }
    }
}

/// An answer that says what is not so: never to be taken for a failure that was injected.
struct WrongAnswer: Error {
    var what: String
}

/// The names in an archive.
func entryNames(_ archive: [UInt8]) throws -> [String] {
    let result = try runProgram(["tar", "tf", "-"], input: archive)
    guard result.status == 0 else { throw WrongAnswer(what: "no archive: \(result.errors)") }
    return result.lines.sorted()
}
