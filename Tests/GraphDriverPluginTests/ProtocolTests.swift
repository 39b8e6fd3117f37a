import Foundation
import TestSupport
import Testing

/// The transport and the answers, as Docker's client meets them.
@Suite(.serialized) struct ProtocolTests {
    @Test func `Docker's requests are understood to the byte: no host, no content type, an empty body`() throws {
        let plugin = try Plugin(opens: false)
        let client = try plugin.client
        let activated = try client.call("Plugin.Activate", "")
        #expect(activated.status == 200)
        #expect(activated.text == #"{"Implements":["GraphDriver"]}"#)
        #expect(activated.headers["content-type"] == "application/vnd.docker.plugins.v1.2+json")
        // Newer clients name a host; some name none.
        for host in ["Host: plugin.moby.localhost\r\n", ""] {
            try client.send("POST /Plugin.Activate HTTP/1.1\r\n\(host)Content-Length: 0\r\n\r\n")
            #expect(try client.response().status == 200)
        }
        let capabilities = try client.call("GraphDriver.Capabilities")
        #expect(capabilities.text == #"{"Capabilities":{"ReproducesExactDiffs":false}}"#)
        // Before Init.
        #expect(try client.call("GraphDriver.Get", #"{"ID":"a"}"#).failure.contains("has not opened"))
        try plugin.open()
        // Docker that is restarted opens it again.
        try plugin.open()
        try plugin.create("a")
        #expect(try plugin.exists("a"))
        #expect(try !plugin.exists("b"))
        let rows = try plugin.status()
        #expect(rows.first == ["Driver", "overlay2"])
        #expect(rows.contains { $0[0] == "Backing Filesystem" })
        let metadata = try plugin.metadata("a")
        #expect(metadata["MergedDir"] == "\(plugin.home)/a/merged")
        #expect(metadata["UpperDir"] == "\(plugin.home)/a/diff")
        try plugin.finish(removing: ["a"])
    }

    @Test func `a store is not opened with the driver of another`() throws {
        let plugin = try Plugin()
        try plugin.create("a")
        let body = #"{"Home":"\#(plugin.home)","Opts":["ldiff.driver=fuse-overlayfs"],"UIDMaps":null,"GIDMaps":null}"#
        let failure = try plugin.client.call("GraphDriver.Init", body).failure
        #expect(failure.contains("it is of the driver overlay2, not fuse-overlayfs"), "\(failure)")
        #expect(try plugin.exists("a"))
        try plugin.restart()
        try plugin.open()
        #expect(try plugin.exists("a"))
        try plugin.finish(removing: ["a"])
        #expect(try readFile(plugin.home + ".driver") == Array("overlay2\n".utf8))
    }

    @Test func `a file of somebody else's beside the home is not written over`() throws {
        let plugin = try Plugin(opens: false)
        let mark = plugin.home + ".driver"
        for (text, mode) in [("my notes", 0o600), ("zfs", 0o600), ("zfs\n", 0o644)] as [(String, mode_t)] {
            unlink(mark)
            try writeFile(mark, Array(text.utf8), mode: mode)
            chmod(mark, mode)
            let body = #"{"Home":"\#(plugin.home)","Opts":[],"UIDMaps":null,"GIDMaps":null}"#
            let failure = try plugin.client.call("GraphDriver.Init", body).failure
            #expect(failure.contains(mark), "\(failure)")
            #expect(try readFile(mark) == Array(text.utf8))
            #expect(access(plugin.home, F_OK) != 0, "nothing is made")
        }
        // Of a store that is gone.
        chmod(mark, 0o600)
        try plugin.open()
        #expect(try readFile(mark) == Array("overlay2\n".utf8))
        try plugin.finish()
    }

    @Test func `what cannot be answered says so, and the connection goes on`() throws {
        let plugin = try Plugin()
        let client = try plugin.client
        #expect(try client.call("GraphDriver.Nothing").status == 404)
        #expect(try client.call("GraphDriver.Create", "{").failure.contains("not the JSON"))
        #expect(try client.call("GraphDriver.Create", #"{"ID":7}"#).failure.contains("not the JSON"))
        try client.send("GET /GraphDriver.Status HTTP/1.1\r\nHost: \r\n\r\n")
        #expect(try client.response().status == 405)
        #expect(try client.call("GraphDriver.Remove", #"{"ID":"unknown"}"#).text == "{}\n")
        #expect(try client.call("GraphDriver.Put", #"{"ID":"unknown"}"#).failure == "")
        for method in ["Get", "GetMetadata", "Changes", "DiffSize"] {
            let response = try client.call("GraphDriver." + method, #"{"ID":"unknown"}"#)
            #expect(response.status == 200)
            #expect(response.failure.contains("unknown"), "\(method): \(response)")
        }
        try plugin.create("a")
        #expect(try client.call("GraphDriver.Create", #"{"ID":"a"}"#).failure.contains("a layer of this id exists"))
        #expect(try client.call("GraphDriver.Create", #"{"ID":"b","Parent":"none"}"#).failure.contains("unknown layer"))
        let option = #"{"ID":"b","StorageOpt":{"speed":"high"}}"#
        #expect(try client.call("GraphDriver.CreateReadWrite", option).failure.contains("Unknown option speed"))
        #expect(try !plugin.exists("b"))
        // Too long to be a call of Docker's: read to its end and refused.
        let long = #"{"ID":"\#(String(repeating: "x", count: 5 << 20))"}"#
        #expect(try client.call("GraphDriver.Exists", long).failure.contains("longer than"))
        #expect(try plugin.exists("a"))
        try plugin.finish(removing: ["a"])
    }

    @Test(arguments: ["", ".", "..", "../../etc", "a/b", "/etc", "l", "tempdirs", "a\\u0000b", "..%2f..%2fetc"])
    func `an id that is no layer's name reaches nothing`(id: String) throws {
        let plugin = try Plugin()
        let client = try plugin.client
        // Makes the directory in which layers are removed.
        try plugin.create("first")
        try plugin.remove("first")
        let before = try runProgram(["find", plugin.root]).lines.sorted()
        for method in [
            "Create", "CreateReadWrite", "Get", "Put", "Remove", "GetMetadata", "Changes", "DiffSize", "Diff",
        ] {
            let response = try client.call("GraphDriver." + method, #"{"ID":"\#(id)"}"#)
            // A literal percent sign may stand in a name: such a layer is unknown, not elsewhere.
            if id.contains("%"), ["Create", "CreateReadWrite"].contains(method) {
                try client.graph("Remove", #"{"ID":"\#(id)"}"#)
                continue
            }
            // Nothing is given back, and nothing removed, where there is no layer of that name.
            if method == "Put" || (method == "Remove" && id.contains("%")) { continue }
            #expect(!response.failure.isEmpty, "\(method): \(response)")
            if method != "Diff" { #expect(response.status == 200) } else { #expect(response.status != 200) }
        }
        if !id.contains("\\") {
            let response = try client.apply(id, onto: "", Tar.archive([F("a", "a")]))
            #expect(!response.failure.isEmpty, "ApplyDiff: \(response)")
        }
        let after = try runProgram(["find", plugin.root]).lines.sorted()
        #expect(before == after)
        try plugin.finish()
    }

    @Test func `names that are no text and names that JSON must escape arrive in lists`() throws {
        let plugin = try Plugin()
        try plugin.create("base")
        let names = [#"quote""#, #"back\slash"#, "line\nfeed", "tab\t", "umlaut-ä", "del\u{7f}", "sp ace", "\u{1f600}"]
        try plugin.inside("base") { path throws in
            for name in names { try writeFile("\(path)/\(name)", []) }
            let bytes = Array("\(path)/bad".utf8) + [0xff, 0xfe, 0]
            let descriptor = bytes.withUnsafeBufferPointer { pointer in
                pointer.withMemoryRebound(to: CChar.self) {
                    open($0.baseAddress.unsafelyUnwrapped, O_CREAT | O_WRONLY, 0o644)
                }
            }
            #expect(descriptor >= 0)
            close(descriptor)
        }
        let changes = try plugin.changes("base", since: nil)
        #expect(Set(changes) == Set((names + ["bad\u{fffd}\u{fffd}"]).map { "A /\($0)" }))
        try plugin.finish(removing: ["base"])
    }

    @Test func `calls of many connections are answered side by side`() throws {
        let plugin = try Plugin()
        try plugin.layer("base") { try $0.file("file", "f") }
        let (socket, failures) = (plugin.socket, Failures())
        // Threads and not tasks: each blocks for its answers.
        DispatchQueue.concurrentPerform(iterations: 16) { number in
            failures.note {
                let client = try PluginClient(socket)
                for round in 0..<8 {
                    let id = "layer-\(number)-\(round)"
                    try client.graph("CreateReadWrite", #"{"ID":"\#(id)","Parent":"base"}"#)
                    let path = try client.graph("Get", #"{"ID":"\#(id)"}"#)["Dir"] as? String ?? ""
                    try writeFile("\(path)/own", Array(id.utf8))
                    try client.graph("Put", #"{"ID":"\#(id)"}"#)
                    let changes = try client.graph("Changes", #"{"ID":"\#(id)","Parent":"base"}"#)["Changes"]
                    guard (changes as? [[String: Any]])?.count == 1 else {
                        throw TestFailure("\(id): \(changes ?? "")")
                    }
                    try client.graph("Remove", #"{"ID":"\#(id)"}"#)
                }
            }
        }
        #expect(failures.texts == [])
        try plugin.finish(removing: ["base"])
    }

    @Test func `the same layer got at once is one mount with a reference for each`() throws {
        let plugin = try Plugin()
        try plugin.layer("base") { try $0.file("file", "f") }
        try plugin.create("top", on: "base")
        let (socket, failures) = (plugin.socket, Failures())
        DispatchQueue.concurrentPerform(iterations: 16) { _ in
            failures.note { try PluginClient(socket).graph("Get", #"{"ID":"top"}"#) }
        }
        #expect(failures.texts == [])
        #expect(try Leftovers.mounts(below: plugin.home).count == 1)
        for _ in 0..<15 { try plugin.put("top") }
        #expect(try Leftovers.mounts(below: plugin.home).count == 1)
        try plugin.put("top")
        #expect(try Leftovers.mounts(below: plugin.home) == [])
        // One more than was got harms nobody.
        try plugin.put("top")
        try plugin.finish(removing: ["top", "base"])
    }

    @Test func `the socket is its owner's alone, a dead one is replaced and a live one is not`() throws {
        let plugin = try Plugin()
        var facts = stat()
        #expect(stat(plugin.socket, &facts) == 0)
        #expect(facts.st_mode == S_IFSOCK | 0o600)
        let directory = String(plugin.socket.dropLast("/ldiff.sock".count))
        #expect(stat(directory, &facts) == 0)
        #expect(facts.st_mode == S_IFDIR | 0o700)
        let second = try runProgram(["timeout", "10", Plugin.program, "--address", plugin.socket])
        #expect(second.status == 1)
        #expect(second.errors.contains("another daemon answers there"))
        // The first was not disturbed, and a crash's file is no obstacle.
        try plugin.create("a")
        try plugin.crash()
        #expect(try plugin.exists("a"))
        try plugin.finish(removing: ["a"])
    }

    @Test(arguments: [
        (#"["ldiff.driver=overlay"]"#, "overlay", ""), (#"["ldiff.driver=nothing"]"#, "", "choose one of overlay2"),
        (#"["ldiff.speed=1"]"#, "", "unknown option ldiff.speed"), (#"["nothing"]"#, "", "Unable to parse key/value"),
        (#"["overlay2.nothing=1"]"#, "", "unknown option nothing"), (#"["zfs.fsname=x"]"#, "overlay2", ""),
        (#"["ldiff.sync=true","ldiff.profile=full"]"#, "overlay2", ""),
    ])
    func `Docker's storage options choose the driver and reach it`(options: String, driver: String, error: String)
        throws
    {
        let plugin = try Plugin(opens: false)
        let request = #"{"Home":"\#(plugin.home)","Opts":\#(options),"UIDMaps":null,"GIDMaps":null}"#
        let response = try plugin.client.call("GraphDriver.Init", request)
        if error.isEmpty {
            #expect(response.failure == "")
            #expect(try plugin.status().first == ["Driver", driver])
        } else {
            #expect(response.failure.contains(error), "\(response)")
        }
        try plugin.finish()
    }

    @Test(arguments: ["container_id,host_id,size", "ContainerID,HostID,Size"])
    func `id maps shift what is unpacked`(names: String) throws {
        let plugin = try Plugin(opens: false)
        let keys = names.split(separator: ",")
        let map = #"[{"\#(keys[0])":0,"\#(keys[1])":100000,"\#(keys[2])":65536}]"#
        try plugin.client.graph("Init", #"{"Home":"\#(plugin.home)","Opts":null,"UIDMaps":\#(map),"GIDMaps":\#(map)}"#)
        try plugin.create("a", readWrite: false)
        try plugin.apply(Tar.archive([F("file", "f").ids(7, 8)]), to: "a", onto: nil)
        var facts = stat()
        #expect(stat("\(plugin.home)/a/diff/file", &facts) == 0)
        #expect((facts.st_uid, facts.st_gid) == (100_007, 100_008))
        try plugin.finish(removing: ["a"])
    }
}

/// What went wrong in other threads.
final class Failures: @unchecked Sendable {
    private let lock = NSLock()
    private var list: [String] = []

    var texts: [String] { lock.withLock { list } }

    func note(_ body: () throws -> Void) {
        do {
            try body()
        } catch {
            lock.withLock { list.append("\(error)") }
        }
    }
}
