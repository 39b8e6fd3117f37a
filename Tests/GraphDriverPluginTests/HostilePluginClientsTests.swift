import DaemonSupport
import Foundation
import TestSupport
import Testing

/// Clients that mean harm, or have died in the middle: whatever they do, others are served and the daemon can be stopped.
@Suite(.serialized) struct HostilePluginClientsTests {
    /// The head of a large file and more of it than a slab holds: the engine has begun with it and waits for the rest.
    private static let unfinished: [UInt8] = {
        var header = F("big")
        header.claimedSize = 64 << 20
        return Tar.header(header) + [UInt8](repeating: 7, count: 1500 << 10)
    }()

    private func descriptors(_ plugin: Plugin) throws -> Int {
        try FileManager.default.contentsOfDirectory(atPath: "/proc/\(plugin.process)/fd").count
    }

    /// What Docker does with a container's layer, on a connection of its own, within seconds.
    private func serves(_ plugin: Plugin, _ id: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
        let start = ContinuousClock.now
        let client = try PluginClient(plugin.socket)
        for call in ["Create", "Get", "Put", "Remove"] { try client.graph(call, #"{"ID":"\#(id)"}"#) }
        #expect(ContinuousClock.now - start < .seconds(5), sourceLocation: sourceLocation)
    }

    private func stalledUploads(_ plugin: Plugin, _ ids: [String]) throws -> [PluginClient] {
        try ids.map { id in
            let client = try PluginClient(plugin.socket)
            try client.beginApply(id, onto: "")
            try client.sendChunk(Self.unfinished)
            return client
        }
    }

    @Test func `a hundred uploads that stall keep nobody from being served, nor the daemon from ending`() throws {
        let plugin = try Plugin()
        let ids = (0..<100).map { "stalled-\($0)" }
        for id in ids { try plugin.create(id, readWrite: false) }
        // Each layer that is to be filled holds one for its mark.
        let before = try descriptors(plugin)
        var hostile = try stalledUploads(plugin, ids)
        try serves(plugin, "good")
        // One more upload is none too many.
        try plugin.create("layer", readWrite: false)
        #expect(try plugin.apply(Tar.archive([F("a", "text")]), to: "layer", onto: nil) == 4)
        #expect(try descriptors(plugin) > before + 200)
        hostile = []
        // They come back when the peers are gone.
        for _ in 0..<500 where try descriptors(plugin) > before { usleep(20_000) }
        #expect(try descriptors(plugin) <= before)
        for id in ids {
            try plugin.remove(id)
            try plugin.create(id, readWrite: false)
        }

        hostile = try stalledUploads(plugin, ids)
        let start = ContinuousClock.now
        #expect(kill(plugin.process, SIGTERM) == 0)
        try plugin.restart()
        #expect(ContinuousClock.now - start < .seconds(10), "while \(hostile.count) clients stall")
        try serves(plugin, "again")
        try plugin.finish(removing: ids + ["layer"])
    }

    @Test func `a layer that nobody reads does not keep the daemon from ending`() throws {
        let plugin = try Plugin()
        try plugin.create("a", readWrite: false)
        try plugin.apply(Tar.archive([F("f", bytes: [UInt8](repeating: 7, count: 32 << 20))]), to: "a", onto: nil)
        let clients = try (0..<5).map { _ in try PluginClient(plugin.socket) }
        for client in clients {
            try client.send("POST /GraphDriver.Diff HTTP/1.1\r\nHost: \r\nContent-Length: 10\r\n\r\n{\"ID\":\"a\"}")
        }
        usleep(200_000)
        let start = ContinuousClock.now
        try plugin.restart()
        #expect(ContinuousClock.now - start < .seconds(10), "while \(clients.count) clients do not read")
        try plugin.finish(removing: ["a"])
    }

    /// More connections than the process has descriptors: those that say nothing give way to those that do.
    @Test func `connections that say nothing take no place from others`() throws {
        let plugin = try Plugin(descriptorLimit: 512)
        let before = try descriptors(plugin)
        var silent: [PluginClient] = []
        for number in 0..<1500 {
            let client = try PluginClient(plugin.socket)
            // A head that stops in its middle, half an end, nothing at all. Those before may be gone already.
            if number % 3 == 0 { try? client.send("POST /GraphDriver.Cre") }
            if number % 3 == 1 { client.endSending() }
            silent.append(client)
            if number % 500 == 499 {
                // Nobody is put out who spoke this very moment.
                sleep(2)
                #expect(try descriptors(plugin) < 200)
                try serves(plugin, "good")
            }
        }
        silent = []
        for _ in 0..<500 where try descriptors(plugin) > before { usleep(20_000) }
        #expect(try descriptors(plugin) <= before)
        // Its own connection was one of the silent ones.
        plugin.forgetConnection()
        try plugin.finish()
    }

    @Test func `a body without end ends the connection, and garbage gets an answer or an end`() throws {
        let plugin = try Plugin()
        for method in ["Get", "Diff", "Init"] {
            let client = try PluginClient(plugin.socket)
            try client.send("POST /GraphDriver.\(method) HTTP/1.1\r\nHost: \r\nTransfer-Encoding: chunked\r\n\r\n")
            let piece = [UInt8](repeating: 65, count: 1 << 20)
            var sent = 0
            while sent < 300, (try? client.sendChunk(piece)) != nil { sent += 1 }
            #expect(sent < 100, "\(method) took \(sent) MiB")
        }
        for garbage in [
            "\u{0}\u{1}\u{2}", "GET", "\r\n\r\n\r\n", String(repeating: "x", count: 200_000), "PRI * HTTP/2.0\r\n\r\n",
        ] {
            let client = try PluginClient(plugin.socket)
            try? client.send(garbage)
            client.endSending()
            _ = try? client.response()
        }
        try serves(plugin, "good")
        try plugin.finish()
    }

    @Test func `what a client has fail grows the log by little`() throws {
        let plugin = try Plugin()
        let client = try PluginClient(plugin.socket)
        let long = String(repeating: "i", count: 50_000)
        for _ in 0..<20 {
            #expect(
                try client.call("GraphDriver.Get", #"{"ID":"\#(long)","Parent":"\#(long)"}"#).failure.utf8.count < 1000)
        }
        for number in 0..<3000 { _ = try client.call("GraphDriver.Get", #"{"ID":"none-\#(number)"}"#) }
        #expect(plugin.logText.utf8.count < 300_000)
        #expect(plugin.logText.contains("layer=none-1\n"))
        try plugin.finish()
    }

    @Test func `the metrics are shown while clients of theirs say little by little nothing`() throws {
        let plugin = try Plugin()
        let socket = plugin.socket.replacingOccurrences(of: "ldiff.sock", with: "metrics.sock")
        let slow = try PluginClient(socket)
        let start = ContinuousClock.now
        // Used by the thread alone, and kept by it.
        nonisolated(unsafe) let dripping = slow
        let drip = Thread { for _ in 0..<40 where (try? dripping.send("G")) != nil { usleep(250_000) } }
        drip.start()
        usleep(100_000)
        let client = try PluginClient(socket)
        try client.send("GET /metrics HTTP/1.1\r\n\r\n")
        #expect(try client.response().status == 200)
        #expect(ContinuousClock.now - start < .seconds(6))
        try plugin.finish()
    }
}

/// How much of a flood is logged.
@Suite struct LogPaceTests {
    @Test func `after a burst a trickle passes, and says what was left out`() {
        let start = ContinuousClock.now
        let pace = LogPace(burst: 3, perSecond: 2, now: start)
        let first = (0..<10).map { _ in pace.admit(now: start) }
        #expect(first == [0, 0, 0] + [Int?](repeating: nil, count: 7))
        #expect(pace.admit(now: start + .milliseconds(400)) == nil)
        #expect(pace.admit(now: start + .milliseconds(500)) == 8)
        #expect(pace.admit(now: start + .milliseconds(600)) == nil)
        // It never saves more than the burst.
        let later = (0..<5).map { _ in pace.admit(now: start + .seconds(100)) }
        #expect(later == [1, 0, 0, nil, nil])
    }
}
