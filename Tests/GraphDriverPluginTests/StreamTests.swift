import Foundation
import LayerModel
import TestSupport
import Testing

/// Layers of any size, both ways, in little memory; what breaks is never taken for whole.
@Suite(.serialized) struct StreamTests {
    private static let fileSize = 1200 << 20
    private static let pieceSize = 256 << 10

    /// Megabytes that the process has had in memory at most.
    private func peak(_ process: pid_t) throws -> Int {
        let text = String(decoding: try readFile("/proc/\(process)/status"), as: UTF8.self)
        let line = text.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        return (line?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) >> 10
    }

    @Test func `more than a gigabyte goes in and out in bounded memory`() throws {
        let plugin = try Plugin()
        try plugin.create("big", readWrite: false)
        let client = try plugin.client
        var header = F("big")
        header.claimedSize = Int64(Self.fileSize)
        let piece = (0..<Self.pieceSize).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 4) }
        try client.beginApply("big", onto: "")
        try client.sendChunk(Tar.header(header))
        for _ in 0..<Self.fileSize / Self.pieceSize { try client.sendChunk(piece) }
        try client.sendChunk([UInt8](repeating: 0, count: 1024))
        let answer = try client.endApply()
        #expect(try answer.json["Size"] as? Int == Self.fileSize, "\(answer)")
        #expect(try peak(plugin.process) < 200, "megabytes after the way in")

        try client.send(
            "POST /GraphDriver.Diff HTTP/1.1\r\nHost: \r\nContent-Length: 12\r\n\r\n{\"ID\":\"big\"}")
        var (count, zeros) = (0, 0)
        let response = try client.response { bytes in
            count += bytes.count
            if bytes.allSatisfy({ $0 == 0 }) { zeros += bytes.count }
        }
        #expect(response.status == 200 && response.isComplete)
        #expect(count >= Self.fileSize + 1024 && count < Self.fileSize + 20_000)
        #expect(zeros < 20_000)
        #expect(try peak(plugin.process) < 250, "megabytes after the way out")
        try plugin.finish(removing: ["big"])
    }

    @Test func `a peer that reads slowly holds the engine, and one that leaves ends it`() throws {
        let plugin = try Plugin()
        let content = [UInt8](repeating: 7, count: 64 << 20)
        try plugin.create("a", readWrite: false)
        try plugin.apply(Tar.archive([F("file", bytes: content)]), to: "a", onto: nil)
        let before = try peak(plugin.process)
        do {
            let slow = try PluginClient(plugin.socket)
            try slow.send("POST /GraphDriver.Diff HTTP/1.1\r\nHost: \r\nContent-Length: 10\r\n\r\n{\"ID\":\"a\"}")
            usleep(500_000)
            #expect(try peak(plugin.process) - before < 24, "megabytes for a peer that does not read")
            // Others are answered meanwhile.
            #expect(try plugin.exists("a"))
        }
        // The peer has gone: the call ends, and the layer is free to be removed.
        try plugin.remove("a")
        try plugin.finish()
    }

    /// Docker's commit pours the stream of a Diff into an ApplyDiff: if Diffs took all threads, both would wait for ever.
    @Test func `layers that nobody takes keep none from being unpacked`() throws {
        let plugin = try Plugin()
        try plugin.create("a", readWrite: false)
        try plugin.apply(
            Tar.archive([F("file", bytes: [UInt8](repeating: 7, count: 32 << 20))]), to: "a", onto: nil)
        try plugin.create("b", readWrite: false)
        var stalled = try (0..<70).map { _ in try PluginClient(plugin.socket) }
        for client in stalled {
            try client.send("POST /GraphDriver.Diff HTTP/1.1\r\nHost: \r\nContent-Length: 10\r\n\r\n{\"ID\":\"a\"}")
        }
        #expect(try plugin.apply(Tar.archive([F("b", "text")]), to: "b", onto: nil) == 4)
        stalled = []
        try plugin.finish(removing: ["b", "a"])
    }

    @Test func `a difference that cannot begin has a status that is not 200`() throws {
        let plugin = try Plugin()
        let response = try plugin.client.call("GraphDriver.Diff", #"{"ID":"unknown","Parent":""}"#)
        #expect(response.status == 404)
        #expect(response.failure.contains("unknown layer"))
        #expect(try plugin.client.call("GraphDriver.Diff", "[]").status == 400)
        try plugin.finish()
    }

    @Test func `an empty layer is an archive without entries`() throws {
        let plugin = try Plugin()
        try plugin.create("a")
        #expect(try plugin.diff("a", since: nil) == [UInt8](repeating: 0, count: 1024))
        try plugin.create("b", on: "a", readWrite: false)
        #expect(try plugin.apply(plugin.diff("a", since: nil), to: "b", onto: "a") == 0)
        try plugin.finish(removing: ["b", "a"])
    }

    @Test(arguments: [
        ("garbage", [UInt8](repeating: 65, count: 4096)), ("cut", Array(Tar.archive([F("a", "text")]).prefix(700))),
        ("outside", Tar.archive([F("../../outside", "x")])), ("device", Tar.archive([F("a/../../../b", "x")])),
    ])
    func `a bad archive is refused after it was read, and the layer is empty`(name: String, tar: [UInt8]) throws {
        let plugin = try Plugin()
        try plugin.create("a", readWrite: false)
        // Much more comes after the point where it is known to be bad.
        let response = try plugin.client.apply("a", onto: "", tar + [UInt8](repeating: 66, count: 4 << 20))
        #expect(response.status == 200)
        #expect(!response.failure.isEmpty)
        #expect(directoryNames("\(plugin.home)/a/diff") == [])
        // The connection and the layer are as good as before.
        #expect(try plugin.apply(Tar.archive([F("b", "text")]), to: "a", onto: nil) == 4)
        #expect(try plugin.changes("a", since: nil) == ["A /b"])
        try plugin.finish(removing: ["a"])
    }

    /// What Docker sends after a connection broke is the rest of a stream, which may well begin at a header.
    @Test func `a stream that breaks off leaves nothing, and its rest is refused`() throws {
        let plugin = try Plugin()
        try plugin.create("a", readWrite: false)
        let whole = Tar.archive((0..<2000).map { F("file-\($0)", "text") })
        do {
            let broken = try PluginClient(plugin.socket)
            try broken.beginApply("a", onto: "")
            try broken.sendChunk(Array(whole.prefix(1000 * 1024)))
            try plugin.waitUntilApplying("a")
        }
        let rest = Array(whole.dropFirst(1000 * 1024))
        var response = try plugin.client.apply("a", onto: "", rest)
        // The plugin may not have seen the end of the first connection yet; then it is still being unpacked.
        #expect(response.failure.contains("cut short"), "\(response)")
        #expect(directoryNames("\(plugin.home)/a/diff") == [])
        try plugin.remove("a")
        try plugin.create("a", readWrite: false)
        response = try plugin.client.apply("a", onto: "", whole)
        #expect(try response.json["Size"] as? Int == 8000)
        try plugin.finish(removing: ["a"])
    }

    @Test func `a break at the border of two entries is a break`() throws {
        let plugin = try Plugin()
        try plugin.create("a", readWrite: false)
        do {
            let broken = try PluginClient(plugin.socket)
            try broken.beginApply("a", onto: "")
            // Whole entries, no end of the archive and no last chunk.
            try broken.sendChunk(Tar.archive([F("a", "text"), F("b", "text")], ends: false))
        }
        for _ in 0..<1500 where !plugin.logText.contains("ApplyDiff failed") { usleep(20_000) }
        #expect(plugin.logText.contains("ApplyDiff failed"))
        #expect(directoryNames("\(plugin.home)/a/diff") == [])
        try plugin.finish(removing: ["a"])
    }

    @Test func `a layer that fails in its middle breaks the connection`() throws {
        let plugin = try Plugin()
        try plugin.create("a", readWrite: false)
        let content = [UInt8](repeating: 9, count: 48 << 20)
        try plugin.apply(Tar.archive([F("first", bytes: content), F("second", bytes: content)]), to: "a", onto: nil)
        let client = try PluginClient(plugin.socket)
        try client.send("POST /GraphDriver.Diff HTTP/1.1\r\nHost: \r\nContent-Length: 10\r\n\r\n{\"ID\":\"a\"}")
        // Cut when the first bytes are here: the plugin is a few megabytes ahead at most, and the rest of both files is missing.
        var isCut = false
        let response = try client.response { _ in
            guard !isCut else { return }
            isCut = true
            #expect(truncate("\(plugin.home)/a/diff/first", 1 << 20) == 0)
            #expect(truncate("\(plugin.home)/a/diff/second", 1 << 20) == 0)
        }
        #expect(isCut)
        #expect(response.status == 200)
        #expect(!response.isComplete, "a body with an end would be taken for the layer")
        #expect(plugin.logText.contains("Diff failed"))
        try plugin.finish(removing: ["a"])
    }
}
