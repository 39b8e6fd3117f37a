import TestSupport
import Testing

/// What a node says for Kubernetes is the same before and after the snippet is imported, read by containerd itself.
@Suite(.serialized) struct NodeConfigurationTests {
    private static let second = """
        version = 2
        imports = ["IMPORT"]
        [plugins."io.containerd.grpc.v1.cri"]
          sandbox_image = "registry.local/pause:9"
        [plugins."io.containerd.grpc.v1.cri".registry]
          config_path = "/etc/containerd/mirrors"
        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
          runtime_type = "io.containerd.runc.v2"
        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
          SystemdCgroup = true

        """
    private static let third = """
        version = 3
        imports = ["IMPORT"]
        [plugins.'io.containerd.cri.v1.images'.pinned_images]
          sandbox = "registry.local/pause:9"
        [plugins.'io.containerd.cri.v1.images'.registry]
          config_path = "/etc/containerd/mirrors"
        [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
          runtime_type = "io.containerd.runc.v2"
        [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
          SystemdCgroup = true

        """

    /// The lines of containerd's own account of its configuration that are the node's.
    private func settings(_ release: ContainerdRelease, _ file: String) throws -> [String] {
        let dump = try runProgram([release.programs() + "/containerd", "--config", file, "config", "dump"])
        guard dump.status == 0 else { throw TestFailure("config dump: \(dump.errors)") }
        return dump.lines.filter { line in
            ["SystemdCgroup", "pause:", "config_path", "runtime_type"].contains { line.contains($0) }
        }
    }

    @Test(arguments: [
        (ContainerdRelease.trixie, "1.7.24", 2), (.sid, "2.1.9", 2), (.sid, "2.1.9", 3),
    ])
    func `a node keeps what it said`(release: ContainerdRelease, version: String, format: Int) throws {
        let directory = try TemporaryDirectory()
        let (file, snippet) = (directory.path + "/config.toml", directory.path + "/ldiff.toml")
        let text = format == 2 ? Self.second : Self.third
        try writeFile(snippet, [])
        try writeFile(file, Array(text.replacing("IMPORT", with: snippet).utf8))
        let before = try settings(release, file)
        #expect(
            before.contains { $0.contains("SystemdCgroup = true") } && before.contains { $0.contains("pause:9") },
            "\(before)")
        for words in [[], ["--only-differ"]] {
            let printed = try runProgram(
                [LDiffDaemon.program("ldiff"), "config", "containerd", "--version", version, "--config", file] + words)
            #expect(printed.status == 0, "\(printed.errors)")
            try writeFile(snippet, printed.output)
            #expect(try settings(release, file) == before)
        }
        // The test can tell: a snippet of another version than the file's makes containerd 2 forget them.
        guard format == 2, release == .sid else { return }
        let other = try runProgram(
            [LDiffDaemon.program("ldiff"), "config", "containerd", "--version", version, "--format", "3"])
        try writeFile(snippet, other.output)
        #expect(try settings(release, file) != before)
    }
}
