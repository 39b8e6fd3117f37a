import DaemonSupport
import Foundation
import LinuxIO
import TestSupport
import Testing

/// What a daemon does around its calls: as a service of systemd, for whoever watches it, and inside.
@Suite(.serialized) struct DaemonTests {
    /// Does what systemd does: makes the socket and a place for messages, then becomes the daemon.
    private static let manager = """
        import os, socket, sys, threading
        path, messages, program = sys.argv[1], sys.argv[2], sys.argv[3:]
        listening = socket.socket(socket.AF_UNIX); listening.bind(path); listening.listen(8)
        notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); notified.bind(messages + ".sock")
        child = os.fork()
        if child == 0:
            os.dup2(listening.fileno(), 3); os.set_inheritable(3, True)
            os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", NOTIFY_SOCKET=messages + ".sock")
            os.execv(program[0], program)
        def write():
            with open(messages, "ab", buffering=0) as file:
                while True: file.write(notified.recv(4096) + b"\\n--\\n")
        threading.Thread(target=write, daemon=True).start()
        import signal
        signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """

    @Test func `it takes its socket from systemd and tells when it is ready and when it stops`() throws {
        let directory = try TemporaryDirectory()
        let (socket, messages) = (directory.path + "/given.sock", directory.path + "/messages")
        let daemon = try Daemon(
            ["/usr/bin/python3", "-c", Self.manager, socket, messages, Plugin.program, "--address", "/nowhere/a.sock"],
            log: directory.path + "/log")
        func text() -> String { String(decoding: (try? readFile(messages)) ?? [], as: UTF8.self) }
        try daemon.wait(until: "ready") { text().contains("READY=1") }
        #expect(try PluginClient(socket).call("Plugin.Activate", "").status == 200)
        #expect(access("/nowhere", F_OK) != 0)
        #expect(access(directory.path + "/metrics.sock", F_OK) == 0, "the metrics lie beside the given socket")
        try daemon.stop()
        #expect(text().contains("STOPPING=1"))
        #expect(access(socket, F_OK) == 0, "systemd keeps its socket")
        #expect(access(directory.path + "/metrics.sock", F_OK) != 0)
    }

    @Test func `its counters are read at a port besides, if it is told so`() throws {
        let directory = try TemporaryDirectory()
        let python = "/usr/bin/python3"
        let free = try runProgram([
            python, "-c", "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])",
        ])
        let address = "127.0.0.1:" + String(decoding: free.output, as: UTF8.self).trimmed
        func words(_ name: String, _ address: String) -> [String] {
            ["timeout", "20", Plugin.program, "--address", "\(directory.path)/\(name)", "--metrics-address", address]
        }
        let daemon = try Daemon(words("a.sock", address), log: directory.path + "/log")
        try daemon.wait(until: "ready") { accepts(socket: directory.path + "/a.sock") }
        let ask = "import urllib.request, sys; print(urllib.request.urlopen(sys.argv[1]).read().decode())"
        let answer = try runProgram([python, "-c", ask, "http://\(address)/metrics"])
        #expect(String(decoding: answer.output, as: UTF8.self).contains("ldiff_info{"), "\(answer.errors)")
        #expect(access(directory.path + "/metrics.sock", F_OK) == 0, "ldiff status finds them where they always are")
        // A port that is taken, and what is no number.
        for (wrong, word) in [
            (address, "bind"), ("localhost:9464", "127.0.0.1:9464"), ("127.0.0.1", "127.0.0.1:9464"),
            ("127.0.0.1:0", "127.0.0.1:9464"), ("::1:9464", "[::1]:9464"),
        ] {
            let refused = try runProgram(words("b.sock", wrong))
            #expect(
                refused.status == 1 && refused.errors.contains(word), "\(wrong): \(refused.status) \(refused.errors)")
            #expect(access(directory.path + "/b.sock", F_OK) != 0, "nothing half-made stays")
        }
        try daemon.stop()
        #expect(try runProgram([python, "-c", ask, "http://\(address)/metrics"]).status != 0)
    }

    @Test func `its counters are read as text and by ldiff status`() throws {
        let plugin = try Plugin()
        try plugin.create("a", readWrite: false)
        try plugin.apply(Tar.archive([F("file", "text")]), to: "a", onto: nil)
        for _ in 0..<3 { #expect(try plugin.exists("a")) }
        #expect(!(try plugin.client.call("GraphDriver.Get", #"{"ID":"none"}"#).failure.isEmpty))
        let metrics = plugin.socket.replacingOccurrences(of: "ldiff.sock", with: "metrics.sock")
        let client = try PluginClient(metrics)
        try client.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        let text = try client.response().text
        for line in [
            #"ldiff_info{program="docker-ldiff-graphdriver",version="0.1.0",driver="overlay2"} 1"#,
            #"ldiff_call_duration_seconds_count{call="Exists"} 3"#,
            #"ldiff_call_duration_seconds_bucket{call="Exists",le="+Inf"} 3"#,
            #"ldiff_call_errors_total{call="Exists"} 0"#, #"ldiff_call_errors_total{call="Get"} 1"#,
            #"ldiff_stream_bytes_total{direction="in"} 2048"#, "# TYPE ldiff_call_duration_seconds histogram",
            "ldiff_calls_running 0",
        ] {
            #expect(text.contains(line), "\(line) in \(text)")
        }
        for request in ["GET /other HTTP/1.1", "POST /metrics HTTP/1.1"] {
            let other = try PluginClient(metrics)
            try other.send("\(request)\r\n\r\n")
            #expect([404, 405].contains(try other.response().status))
        }
        // Nonsense and silence hurt nobody.
        let silent = try PluginClient(metrics)
        try silent.send("nonsense\r\n\r\n")
        let status = try runProgram([DaemonTests.ldiff, "status", "--address", plugin.socket])
        #expect(status.status == 0, "\(status.errors)")
        let shown = String(decoding: status.output, as: UTF8.self)
        #expect(shown.contains("docker-ldiff-graphdriver 0.1.0") && shown.contains("overlay2"))
        #expect(shown.split(separator: "\n").contains { $0.hasPrefix("Exists") && $0.contains(" 3 ") }, "\(shown)")
        let json = try runProgram([DaemonTests.ldiff, "status", "--json", "--address", metrics])
        #expect(try ReportSchema().faults(of: json.output, "status") == [])
        let report = try JSONSerialization.jsonObject(with: Data(json.output)) as? [String: Any]
        let object = (report?["daemons"] as? [[String: Any]])?.first
        let calls = object?["calls"] as? [[String: Any]] ?? []
        #expect(calls.first { $0["call"] as? String == "Get" }?["errors"] as? Int == 1)
        #expect(object?["bytesIn"] as? Int == 2048)
        try plugin.finish(removing: ["a"])
        let gone = try runProgram([DaemonTests.ldiff, "status", "--address", plugin.socket])
        let unhealthy = try runProgram([DaemonTests.ldiff, "status", "--check", "--address", plugin.socket])
        #expect(unhealthy.status == 69 && unhealthy.errors.isEmpty, "\(unhealthy.errors)")
        #expect(unhealthy.lines.count == 1 && unhealthy.lines[0].contains("no daemon listens there"))
        #expect(gone.status == 66)
        #expect(gone.errors.contains("no daemon listens there"))
    }

    @Test func `a check tells troubles by its status and a line each`() throws {
        let plugin = try Plugin()
        let check = { try runProgram([DaemonTests.ldiff, "status", "--check", "--address", plugin.socket] + $0) }
        let well = try check([])
        #expect(well.status == 0 && well.lines.count == 1, "\(well.lines) \(well.errors)")
        #expect(well.lines.first?.hasSuffix("docker-ldiff-graphdriver 0.1.0 is well") == true, "\(well.lines)")
        #expect(try check(["--quiet"]).output.isEmpty)
        // A disk that went.
        let home = plugin.home
        #expect(rename(home, home + ".away") == 0)
        let ill = try check([])
        #expect(ill.status == 69 && ill.errors.isEmpty && ill.lines.count == 1, "\(ill.lines) \(ill.errors)")
        #expect(
            ill.lines.first?.contains("overlay2: \(home): its directory cannot be looked at") == true, "\(ill.lines)")
        let json = try check(["--json"])
        #expect(json.status == 69 && String(decoding: json.output, as: UTF8.self).contains("\"healthy\":false"))
        #expect(try ReportSchema().faults(of: json.output, "statusCheck") == [])
        // Another one in its place.
        #expect(mkdir(home, 0o700) == 0)
        #expect(try check([]).lines.first?.contains("it is another directory than it was") == true)
        #expect(rmdir(home) == 0 && rename(home + ".away", home) == 0)
        #expect(try check(["--json"]).status == 0)
        try plugin.finish()
    }

    private static let ldiff = DaemonTests.neighbour("ldiff")

    private static func neighbour(_ name: String) -> String {
        URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
            .appending(path: name).path
    }

    @Test func `help and version tell what the program is`() throws {
        let version = try runProgram([Plugin.program, "--version"])
        #expect(version.lines == ["docker-ldiff-graphdriver 0.1.0"])
        let help = try runProgram([Plugin.program, "--help"]).lines.joined(separator: "\n")
        for word in ["--driver", "--address", "--log-level", "ldiff.driver=NAME", "/run/docker/plugins/ldiff.sock"] {
            #expect(help.contains(word))
        }
        #expect(try runProgram([Plugin.program, "--driver", "none"]).status == 64)
        let long = try runProgram([Plugin.program, "--address", "/tmp/" + String(repeating: "x", count: 200)])
        #expect(long.status == 1)
        #expect(long.errors.contains("1 to 107 bytes"))
    }
}

/// The way off the cooperative pool.
@Suite struct BlockingBridgeTests {
    @Test func `short work does not wait behind long work`() async throws {
        let bridge = BlockingBridge(shortThreads: 1, longThreads: 2)
        let gate = Monitor(false)
        async let first = bridge.runLong { _ in gate.wait { $0 ? 1 : nil } }
        async let second = bridge.runLong { _ in gate.wait { $0 ? 2 : nil } }
        // Waits for a thread of its own lane.
        async let third = bridge.runLong { _ in 3 }
        for number in 0..<100 { #expect(try await bridge.run { number } == number) }
        gate.change { $0 = true }
        #expect(try await [first, second, third] == [1, 2, 3])
    }

    @Test func `cancelling reaches work that runs and spares work that has not begun`() async throws {
        let bridge = BlockingBridge(shortThreads: 1, longThreads: 1)
        let begun = Monitor(false)
        let mayNotRun = Monitor(false)
        let running = Task {
            try await bridge.runLong { cancel in
                begun.change { $0 = true }
                while !cancel.isCancelled { usleep(1000) }
                return "stopped"
            }
        }
        try await bridge.run { begun.wait { $0 ? () : nil } }
        let waiting = Task { try await bridge.runLong { _ in mayNotRun.change { $0 = true } } }
        try await Task.sleep(for: .milliseconds(20))
        waiting.cancel()
        await #expect(throws: CancellationError.self) { try await waiting.value }
        running.cancel()
        #expect(try await running.value == "stopped")
        #expect(mayNotRun.change { !$0 })
        bridge.cancelAll()
        #expect(try await bridge.runLong { $0.isCancelled })
    }

    @Test func `a thousand pieces of work at once all end`() async throws {
        let bridge = BlockingBridge(shortThreads: 3, longThreads: 3)
        let sum = try await withThrowingTaskGroup(of: Int.self) { group in
            for number in 1...1000 {
                group.addTask {
                    try await number.isMultiple(of: 2) ? bridge.run { number } : bridge.runLong { _ in number }
                }
            }
            return try await group.reduce(0, +)
        }
        #expect(sum == 500_500)
    }

    /// To wake all that wait cost more than most of what they are woken for.
    @Test func `a piece of work wakes one thread`() async throws {
        let bridge = BlockingBridge()
        // Now there are as many threads as there may be.
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<16 { group.addTask { _ = try await bridge.run { usleep(50_000) } } }
            try await group.waitForAll()
        }
        // Of this process.
        var (before, after) = (rusage(), rusage())
        getrusage(0, &before)
        for _ in 0..<500 { try await bridge.run {} }
        getrusage(0, &after)
        let waits = after.ru_nvcsw - before.ru_nvcsw
        #expect(waits < 500 * 8, "\(waits) waits")
    }
}
