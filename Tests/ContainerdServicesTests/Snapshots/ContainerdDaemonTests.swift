import Glibc
import TestSupport
import Testing

/// The program: its flags, its file, its sockets, its end.
@Suite(.serialized) struct ContainerdDaemonTests {
    @Test func `sockets are the owner's alone and go with the daemon`() throws {
        let daemon = try SnapshotDaemon()
        var status = stat()
        #expect(lstat(daemon.socket, &status) == 0)
        #expect(status.st_mode == S_IFSOCK | 0o600)
        #expect(lstat(daemon.directory + "/run", &status) == 0)
        #expect(status.st_mode == S_IFDIR | 0o700)
        #expect(lstat(daemon.directory + "/run/metrics.sock", &status) == 0)
        #expect(status.st_mode == S_IFSOCK | 0o600)
        #expect(lstat(daemon.root, &status) == 0)
        #expect(status.st_mode == S_IFDIR | 0o700)
        try daemon.stop()
        #expect(directoryNames(daemon.directory + "/run").isEmpty)
    }

    @Test func `a second daemon on the same root or socket is refused`() throws {
        let daemon = try SnapshotDaemon()
        for words in [
            ["--root", daemon.root, "--address", daemon.directory + "/other.sock"],
            ["--root", daemon.directory + "/other", "--address", daemon.socket],
        ] {
            let result = try runProgram(
                [SnapshotDaemon.program, "--config", daemon.directory + "/config.toml"] + words)
            #expect(result.status == 1)
            #expect(result.errors.contains("another daemon"), "\(result.errors)")
        }
        try daemon.stop()
    }

    @Test(arguments: [
        ("rooot = \"/x\"", "the key rooot is unknown"), ("[snapshot]\nsync = true", "the key snapshot.sync is unknown"),
        ("[snapshot]\nsync_remove = \"yes\"", "snapshot.sync_remove must be true or false"),
        ("root = 7", "the key root must be a string"), ("log = \"debug\"", "[log] must be a table"),
        ("root = ", "line 1"), ("driver = \"btrfs\"", "\"btrfs\" is none of"),
        ("[log]\nlevel = \"loud\"", "\"loud\" is none of"), ("root = \"relative\"", "must be an absolute path"),
        ("root = \"/var/tmp/a:b\"", "without colons"),
    ])
    func `a configuration that says something wrong is refused with the place`(text: String, reason: String) throws {
        let directory = try TemporaryDirectory()
        try writeFile(directory.path + "/c.toml", Array(text.utf8))
        let result = try runProgram([
            SnapshotDaemon.program, "--config", directory.path + "/c.toml", "--address", directory.path + "/s/s.sock",
        ])
        #expect(result.status == 1)
        #expect(result.errors.contains(reason), "\(result.errors)")
        #expect(directoryNames(directory.path + "/s").isEmpty)
        let checked = try runProgram([SnapshotDaemon.program, "--check-config", "--config", directory.path + "/c.toml"])
        #expect(checked.status == 1)
        #expect(checked.errors == result.errors)
    }

    /// The file that packages install, with and without what it comments out.
    @Test func `the configuration that is installed is right, whatever of it is said`() throws {
        let directory = try TemporaryDirectory()
        let (file, installed) = (directory.path + "/c.toml", Self.packaging + "/etc/containerd-ldiff-grpc/config.toml")
        let text = String(decoding: try readFile(installed), as: UTF8.self)
        let said = text.split(separator: "\n").filter { $0.hasPrefix("#") && $0.contains(" = ") && !$0.hasPrefix("# ") }
        #expect(said.count == 16, "\(said)")
        var whole = text
        for line in said { whole.replace(line, with: line.dropFirst()) }
        for text in [text, whole] {
            try writeFile(file, Array(text.utf8))
            let result = try runProgram([SnapshotDaemon.program, "--check-config", "--config", file])
            #expect(result.status == 0, "\(result.errors)")
            #expect(result.lines == ["\(file): nothing is wrong with it"])
        }
    }

    private static let packaging = #filePath.replacing(/Tests.ContainerdServicesTests.*/, with: "Sources/packaging")

    @Test func `it tells its version and its flags`() throws {
        let version = try runProgram([SnapshotDaemon.program, "--version"])
        #expect(version.status == 0)
        #expect(version.lines.first?.hasPrefix("containerd-ldiff-grpc ") == true)
        let help = try runProgram([SnapshotDaemon.program, "--help"])
        #expect(help.status == 0)
        for flag in ["--root", "--address", "--driver", "--containerd-address", "--log-level", "--config"] {
            #expect(help.lines.contains { $0.contains(flag) })
        }
        #expect(try runProgram([SnapshotDaemon.program, "--unknown"]).status == 64)
    }

    @Test func `metrics tell the calls that were made`() async throws {
        let daemon = try SnapshotDaemon()
        try await SnapshotClient.connected(to: daemon.socket) { client in
            _ = try await client.prepare("k")
            _ = try await failure { try await client.prepare("k") }
        }
        let result = try runProgram([
            "python3", "-c",
            """
            import socket, sys
            s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
            s.sendall(b"GET /metrics HTTP/1.0\\r\\n\\r\\n")
            while True:
                d = s.recv(65536)
                if not d: break
                sys.stdout.write(d.decode())
            """, daemon.directory + "/run/metrics.sock",
        ])
        #expect(
            result.lines.contains {
                $0.hasPrefix("ldiff_call_duration_seconds_count") && $0.contains("snapshots.Prepare")
                    && $0.hasSuffix(" 2")
            }, "\(result.lines)")
        #expect(
            result.lines.contains {
                $0.hasPrefix("ldiff_call_errors_total") && $0.contains("snapshots.Prepare") && $0.hasSuffix(" 1")
            })
        try daemon.stop()
    }
}
