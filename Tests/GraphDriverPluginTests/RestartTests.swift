import Foundation
import TestSupport
import Testing

/// The plugin is restarted while Docker goes on: it is not told again what Docker has.
@Suite(.serialized) struct RestartTests {
    static let drivers = ["overlay2", "overlay", "fuse-overlayfs"]

    @Test(arguments: drivers) func `mounts survive a crash and a restart with their references`(driver: String) throws {
        let plugin = try Plugin(driver)
        try plugin.layer("base") { try $0.file("below", "b") }
        try plugin.create("one", on: "base")
        try plugin.create("two", on: "base")
        let path = try plugin.get("one")
        try writeFile(path + "/first", Array("1".utf8))
        for _ in 0..<2 { _ = try plugin.get("two") }
        #expect(try Leftovers.mounts(below: plugin.home).count == 2)
        try plugin.crash()
        // What is mounted is used meanwhile, and by the helper of FUSE served.
        try writeFile(path + "/second", Array("2".utf8))
        #expect(try readText(path + "/below") == "b")
        #expect(try plugin.changes("one", since: "base") == ["A /first", "A /second"])
        try plugin.put("two")
        #expect(try Leftovers.mounts(below: plugin.home).count == 2, "another user has it")
        try plugin.restart()
        #expect(try readText(path + "/second") == "2")
        #expect(try plugin.get("one") == path)
        try plugin.put("one")
        #expect(try Leftovers.mounts(below: plugin.home).count == 2)
        try plugin.put("one")
        try plugin.put("two")
        #expect(try Leftovers.mounts(below: plugin.home) == [])
        try plugin.finish(removing: ["two", "one", "base"])
    }

    /// With live-restore Docker opens the store anew and has each running container mounted once, whatever there was.
    @Test func `a Docker that is restarted finds each mount counted once`() throws {
        let plugin = try Plugin()
        try plugin.layer("base") { try $0.file("below", "b") }
        try plugin.create("container", on: "base")
        for _ in 0..<3 { _ = try plugin.get("container") }
        try plugin.open()
        // It mounts and unmounts each running container once to learn its path.
        _ = try plugin.get("container")
        try plugin.put("container")
        #expect(try Leftovers.mounts(below: plugin.home).count == 1)
        try plugin.restart()
        #expect(try Leftovers.mounts(below: plugin.home).count == 1)
        // The container stops.
        try plugin.put("container")
        #expect(try Leftovers.mounts(below: plugin.home) == [])
        try plugin.finish(removing: ["container", "base"])
    }

    @Test func `Cleanup unmounts what Docker has forgotten`() throws {
        let plugin = try Plugin()
        try plugin.layer("base") { try $0.file("below", "b") }
        try plugin.create("a", on: "base")
        _ = try plugin.get("a")
        _ = try plugin.get("a")
        try plugin.client.graph("Cleanup")
        #expect(try Leftovers.mounts(below: plugin.home) == [])
        try plugin.finish(removing: ["a", "base"])
    }

    @Test func `a plugin whose store is gone starts, says so, and makes a new one when Docker asks`() throws {
        let plugin = try Plugin()
        try plugin.layer("base") { try $0.file("below", "b") }
        let result = try runProgram(["rm", "-rf", plugin.root])
        try #require(result.status == 0, "\(result.errors)")
        try plugin.crash()
        for call in ["Create", "Get", "Remove"] {
            let answer = try plugin.client.call("GraphDriver.\(call)", #"{"ID":"new"}"#)
            #expect(answer.failure.contains("cannot be opened"), "\(call): \(answer)")
        }
        #expect(access(plugin.root, F_OK) != 0, "nothing is made before Docker asks")
        // With the directories above it, as Docker's own drivers do.
        try plugin.open()
        #expect(try !plugin.exists("base"))
        try plugin.layer("base") { try $0.file("below", "b") }
        try plugin.finish(removing: ["base"])
    }

    /// What the journal says of mounts is not asked alone: Docker was killed, and its store unmounted and moved away.
    @Test func `a store of which nothing is mounted keeps no other from being opened`() throws {
        let plugin = try Plugin()
        try plugin.layer("base") { try $0.file("below", "b") }
        try plugin.create("container", on: "base")
        let path = try plugin.get("container")
        let other = #"{"Home":"\#(plugin.root)/other","Opts":[],"UIDMaps":null,"GIDMaps":null}"#
        let refused = try plugin.client.call("GraphDriver.Init", other)
        #expect(refused.failure.contains("\(path) is mounted"), "\(refused)")
        #expect(access(plugin.root + "/other", F_OK) != 0)
        plugin.kill()
        #expect(umount2(path, 0) == 0)
        #expect(rename(plugin.home, plugin.home + ".away") == 0)
        try plugin.start()
        try plugin.client.graph("Init", other)
        #expect(try !plugin.exists("base"))
        try plugin.layer("base") { try $0.file("below", "b") }
        #expect(access(plugin.root + "/other/base/diff/below", F_OK) == 0)
        #expect(access(plugin.home + ".away/base/diff/below", F_OK) == 0)
        try plugin.finish(removing: ["base"])
    }

    @Test func `a plugin whose disk is mounted later goes on where it was`() throws {
        let plugin = try Plugin()
        try plugin.layer("base") { try $0.file("below", "b") }
        try #require(rename(plugin.root, plugin.root + ".away") == 0)
        try plugin.crash()
        let answer = try plugin.client.call("GraphDriver.Get", #"{"ID":"base"}"#)
        #expect(answer.failure.contains("cannot be opened"), "\(answer)")
        try #require(rename(plugin.root + ".away", plugin.root) == 0)
        #expect(try plugin.exists("base"))
        try plugin.inside("base") { path throws in #expect(try readText(path + "/below") == "b") }
        try plugin.finish(removing: ["base"])
    }

    @Test func `a call that Docker repeats after a crash is answered as if it came once`() throws {
        let plugin = try Plugin()
        try plugin.layer("base") { try $0.file("below", "b") }
        try plugin.create("new", on: "base", readWrite: false)
        try plugin.create("used", on: "base")
        try plugin.build("used") { try $0.file("own", "o") }
        try plugin.create("full", on: "base", readWrite: false)
        #expect(try plugin.apply(Tar.archive([F("a", "12345")]), to: "full", onto: "base") == 5)
        try plugin.crash()
        // Made by the process before, and nothing happened to it since.
        try plugin.create("new", on: "base", readWrite: false)
        // Something did: a second layer of this name is a mistake.
        let client = try plugin.client
        #expect(try client.call("GraphDriver.Create", #"{"ID":"used","Parent":"base"}"#).failure.contains("exists"))
        #expect(try client.call("GraphDriver.Create", #"{"ID":"new"}"#).failure.contains("exists"), "another parent")
        // Unpacked, but the answer was lost: the source has nothing more to give.
        #expect(try plugin.apply([], to: "full", onto: "base") == 5)
        #expect(try plugin.changes("full", since: "base") == ["A /a"])
        // Made, but of its stream nothing is left: this is no empty layer.
        #expect(try client.apply("new", onto: "base", []).failure.contains("the stream is empty"))
        try plugin.remove("new")
        try plugin.remove("new")
        try plugin.finish(removing: ["used", "full", "base"])
    }

    @Test func `a layer that was being unpacked at a crash is refused until it is removed`() throws {
        let plugin = try Plugin()
        try plugin.create("a", readWrite: false)
        let whole = Tar.archive((0..<3000).map { F("file-\($0)", "text") })
        do {
            let client = try PluginClient(plugin.socket)
            try client.beginApply("a", onto: "")
            try client.sendChunk(Array(whole.prefix(1500 * 1024)))
            try plugin.waitUntilApplying("a")
            try plugin.crash()
        }
        let rest = try plugin.client.apply("a", onto: "", Array(whole.dropFirst(1500 * 1024)))
        #expect(rest.failure.contains("cut short"), "\(rest)")
        try plugin.remove("a")
        try plugin.create("a", readWrite: false)
        #expect(try plugin.apply(whole, to: "a", onto: nil) == 12_000)
        try plugin.finish(removing: ["a"])
    }

    @Test func `SIGTERM lets a call end that runs`() throws {
        let plugin = try Plugin()
        try plugin.create("a", readWrite: false)
        let client = try PluginClient(plugin.socket)
        // Few files: on a busy machine thousands take longer than the process waits.
        let text = String(repeating: "text", count: 12_500)
        let whole = Tar.archive((0..<60).map { F("file-\($0)", text) })
        try client.beginApply("a", onto: "")
        try client.sendChunk(Array(whole.prefix(1500 * 1024)))
        try plugin.waitUntilApplying("a")
        kill(plugin.process, SIGTERM)
        // Calls may go on for ten seconds.
        for _ in 0..<400 where accepts(socket: plugin.socket) { usleep(20_000) }
        #expect(!accepts(socket: plugin.socket), "no new connections")
        try client.sendChunk(Array(whole.dropFirst(1500 * 1024)))
        let answer = try client.endApply()
        #expect(try answer.json["Size"] as? Int == 3_000_000)
        try plugin.crash()
        #expect(try plugin.changes("a", since: nil).count == 60)
        try plugin.finish(removing: ["a"])
    }

    @Test func `what was mounted and not told is unmounted at the next start`() throws {
        let plugin = try Plugin()
        try plugin.layer("base") { try $0.file("below", "b") }
        try plugin.create("a", on: "base")
        _ = try plugin.get("a")
        // As if the process had ended between mounting and writing so.
        let journal = plugin.socket + ".state"
        let lines = String(decoding: try readFile(journal), as: UTF8.self).split(separator: "\n")
        #expect(lines.last == "mounted 61")
        try writeFile(journal, Array((lines.dropLast().joined(separator: "\n") + "\n").utf8), mode: 0o600)
        try plugin.crash()
        // An answer comes after the store was taken over; the socket takes connections before that.
        #expect(try plugin.exists("a"))
        #expect(try Leftovers.mounts(below: plugin.home) == [])
        try plugin.finish(removing: ["a", "base"])
    }

    @Test func `state of another boot does not count`() throws {
        let plugin = try Plugin()
        try plugin.create("a")
        let journal = plugin.socket + ".state"
        let text = String(decoding: try readFile(journal), as: UTF8.self)
        let line = try #require(text.split(separator: "\n").first)
        try writeFile(journal, Array(("ldiff-graphdriver 1 another" + text.dropFirst(line.count)).utf8), mode: 0o600)
        try plugin.crash()
        #expect(try plugin.client.call("GraphDriver.Exists", #"{"ID":"a"}"#).failure.contains("has not opened"))
        try plugin.open()
        #expect(try plugin.exists("a"))
        try plugin.finish(removing: ["a"])
    }
}
