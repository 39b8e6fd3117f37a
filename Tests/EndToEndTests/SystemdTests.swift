import Glibc
import TestSupport
import Testing

/// The units of both daemons under a systemd of their own, installed as `make install` does it.
@Suite(.serialized) struct SystemdTests {
    /// Another machine, as far as systemd can tell: see `systemd-machine`.
    private final class Machine {
        private let place: TemporaryDirectory
        private let daemon: Daemon
        private static let script =
            #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
            + "/systemd-machine"

        init() throws {
            place = try TemporaryDirectory()
            let programs = SnapshotDaemon.program.split(separator: "/", omittingEmptySubsequences: false).dropLast()
            daemon = try Daemon(
                [Self.script, "start", place.path, programs.joined(separator: "/")], log: place.path + "/log")
            try daemon.wait(until: "systemd works") { [self] in try run(["test", "-s", "/run/ready"]).status == 0 }
        }

        /// Runs a command in it.
        func run(_ words: [String]) throws -> ProgramResult {
            try runProgram(["/usr/bin/timeout", "30", Self.script, "run", place.path] + words)
        }

        /// Runs one that must succeed; what it says.
        @discardableResult
        func callAsFunction(_ words: String...) throws -> String {
            let result = try run(words)
            guard result.status == 0 else {
                throw TestFailure("\(words.joined(separator: " ")): \(result.errors); \(daemon.tail)")
            }
            return String(decoding: result.output, as: UTF8.self).trimmed
        }

        /// A property of a unit, as `systemctl show` tells it.
        func property(_ name: String, of unit: String) throws -> String {
            try self("systemctl", "show", "-P", name, unit)
        }

        func wait(until what: String, _ condition: () throws -> Bool) throws {
            try daemon.wait(until: what, condition)
        }

        /// Ends it, and takes away what was installed.
        func stop() throws {
            try daemon.stop()
            let packaging =
                Self.script.split(separator: "/", omittingEmptySubsequences: false).dropLast(3)
                .joined(separator: "/") + "/Sources/packaging"
            let removal = try runProgram([packaging + "/remove-files", place.path + "/tree", "/usr/local"])
            #expect(removal.status == 0, "\(removal.errors)")
            #expect(try runProgram(["find", place.path + "/tree", "!", "-type", "d"]).lines == [])
            #expect(try Leftovers.mounts(below: place.path).isEmpty)
        }
    }

    @Test func `the units are started by a call, tell how they are, come back when killed, and leave nothing`() throws {
        let machine = try Machine()
        let units = "/usr/local/lib/systemd/system/"
        for unit in ["containerd-ldiff-grpc", "docker-ldiff-graphdriver"] {
            let said = try machine.run([
                "systemd-analyze", "verify", units + unit + ".service", units + unit + ".socket",
            ])
            #expect(said.status == 0)
            // Keys of systemd 254, which older ones say that they ignore.
            let lines = (said.lines + said.errors.split(separator: "\n").map(String.init)).filter {
                !($0.contains("Unknown key") && ($0.contains("'RestartSteps'") || $0.contains("'RestartMaxDelaySec'")))
            }
            #expect(lines == [])
        }
        try runContainerd(machine)
        try runDocker(machine)
        try outlast(machine)
        try machine.stop()
    }

    private func runContainerd(_ machine: Machine) throws {
        let unit = "containerd-ldiff-grpc"
        let socket = "/run/containerd-ldiff/containerd-ldiff.sock"
        let snapshots = ["ctr", "--address", socket, "snapshots", "--snapshotter", "ldiff"]
        try machine("systemctl", "start", unit + ".socket")
        #expect(try machine.property("ActiveState", of: unit) == "inactive")
        #expect(try machine("stat", "-c", "%a", socket, "/run/containerd-ldiff") == "600\n700")

        // The first call starts it, and is answered.
        #expect(try machine.run(snapshots + ["prepare", "one"]).status == 0)
        #expect(try machine.property("ActiveState", of: unit) == "active")
        #expect(try machine.property("StatusText", of: unit) == "serving on \(socket)")
        #expect(try machine("ldiff", "status", "--address", socket).contains("overlay2"))

        // Calls made while it is away wait in the socket.
        let first = try machine.property("MainPID", of: unit)
        try machine("systemctl", "restart", unit)
        #expect(try machine.property("MainPID", of: unit) != first)
        #expect(try listed(machine, snapshots) == ["one"])
        try machine("systemctl", "kill", "--signal=KILL", unit)
        #expect(try listed(machine, snapshots) == ["one"])
        try machine.wait(until: "started again") { try machine.property("NRestarts", of: unit) == "1" }

        try machine("systemctl", "stop", unit + ".socket", unit + ".service")
        #expect(try machine.property("Result", of: unit) == "success")
        #expect(try machine.property("ExecMainStatus", of: unit) == "0")
        #expect(try machine.run(["ls", "/run/containerd-ldiff"]).lines == [])
    }

    /// Five failures in ten seconds left unit and socket failed until somebody came.
    private func outlast(_ machine: Machine) throws {
        let unit = "containerd-ldiff-grpc"
        let socket = "/run/containerd-ldiff/containerd-ldiff.sock"
        let settings = "/etc/containerd-ldiff-grpc/config.toml"
        try machine("sh", "-c", "mkdir -p /etc/containerd-ldiff-grpc; echo wrong = 1 >\(settings)")
        try machine("systemctl", "start", unit + ".socket")
        _ = try machine.run(["systemctl", "start", unit])
        try machine.wait(until: "eight starts") {
            Int(try machine.property("NRestarts", of: unit)) ?? 0 >= 8
        }
        try machine("rm", settings)
        try machine.wait(until: "started") { try machine.property("ActiveState", of: unit) == "active" }
        #expect(try machine.property("ActiveState", of: unit + ".socket") == "active")
        let call = ["ctr", "--address", socket, "snapshots", "--snapshotter", "ldiff", "ls"]
        #expect(try machine.run(call).status == 0)
        try machine("systemctl", "stop", unit + ".socket", unit + ".service")
    }

    private func listed(_ machine: Machine, _ snapshots: [String]) throws -> [String] {
        try machine.run(snapshots + ["ls"]).lines.dropFirst().map { String($0.prefix { $0 != " " }) }
    }

    private func runDocker(_ machine: Machine) throws {
        let unit = "docker-ldiff-graphdriver"
        let socket = "/run/docker/plugins/ldiff.sock"
        try machine("systemctl", "start", unit + ".socket")
        let answer = try machine("curl", "-s", "--unix-socket", socket, "-X", "POST", "http://ldiff/Plugin.Activate")
        #expect(answer.contains("GraphDriver"))
        #expect(try machine.property("ActiveState", of: unit) == "active")
        #expect(try machine.property("StatusText", of: unit) == "serving the driver overlay2")
        try machine("systemctl", "stop", unit + ".socket", unit + ".service")
        #expect(try machine.property("Result", of: unit) == "success")
        #expect(try machine.run(["test", "-e", socket]).status != 0)
    }
}
