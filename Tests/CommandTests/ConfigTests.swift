import TestSupport
import Testing

/// `ldiff config containerd`. That containerd takes what it prints is seen in EndToEndTests.
@Suite struct ConfigTests {
    private func snippet(_ arguments: String) throws -> String {
        // Whatever this machine's own file is.
        let format = arguments.contains("--version 2") ? 3 : 2
        let outcome = try Scratch().run("$L config containerd --format \(format) \(arguments)")
        #expect(outcome.status == 0 && outcome.errors.isEmpty, "\(outcome)")
        return outcome.text
    }

    /// Tables of the snippet, in order.
    private func tables(_ text: String) -> [String] {
        text.split(separator: "\n").filter { $0.drop { $0 == " " }.hasPrefix("[") }
            .map { String($0.drop { $0 == " " }) }
    }

    @Test(arguments: ["1.6", "1.6.20", "1.6.20~ds1", "1.7.3", "v1.7.0"])
    func `a release that would panic gets no differ`(version: String) throws {
        let text = try snippet("--version \(version)")
        #expect(!text.contains("\"diff\"") && !text.contains("ldiff-diff") && !text.contains("diff-service"))
        #expect(
            tables(text) == [
                "[proxy_plugins.ldiff]", "[plugins.\"io.containerd.grpc.v1.cri\".containerd]",
            ] || tables(text).contains("[proxy_plugins.ldiff.exports]"))
        #expect(text.contains("version = 2\n") && text.contains("snapshotter = \"ldiff\""))
        let refused = try Scratch().run("$L config containerd --version \(version) --only-differ")
        #expect(refused.status == 69 && refused.text.isEmpty && refused.errorLines.count == 1, "\(refused)")
    }

    @Test func `1_7_24 gets both plugins and the order of differs`() throws {
        let text = try snippet("--version 1.7.24 --address /run/x/y.sock --root /data/ldiff")
        #expect(
            tables(text) == [
                "[proxy_plugins.ldiff]", "[proxy_plugins.ldiff.exports]", "[proxy_plugins.ldiff-diff]",
                "[plugins.\"io.containerd.service.v1.diff-service\"]",
                "[plugins.\"io.containerd.grpc.v1.cri\".containerd]",
            ])
        #expect(text.contains("address = \"/run/x/y.sock\"") && text.contains("root = \"/data/ldiff\""))
        #expect(text.contains("default = [\"ldiff-diff\", \"walking\"]") && text.contains("version = 2\n"))
    }

    @Test(arguments: ["2", "2.x", "2.1.9", "2.2"]) func `2 gets the transfer service too`(version: String) throws {
        let text = try snippet("--version \(version) --driver zfs")
        #expect(
            tables(text) == [
                "[proxy_plugins.ldiff-zfs]", "[proxy_plugins.ldiff-zfs.exports]", "[proxy_plugins.ldiff-diff]",
                "[plugins.'io.containerd.service.v1.diff-service']",
                "[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]",
                "[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]",
                "[plugins.'io.containerd.cri.v1.images']",
            ])
        #expect(text.contains("version = 3\n") && text.contains("snapshotter = \"overlayfs\"\n  differ = \"walking\""))
    }

    @Test func `the differ alone leaves the snapshotter to containerd`() throws {
        let text = try snippet("--version 2.1 --only-differ")
        #expect(
            tables(text) == [
                "[proxy_plugins.ldiff-diff]", "[plugins.'io.containerd.service.v1.diff-service']",
                "[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]",
            ])
        #expect(text.contains("snapshotter = \"overlayfs\"\n  differ = \"ldiff-diff\""))
    }

    @Test(arguments: [
        ("version = 2\n", 2), ("# version = 3\n  version=2 # ours\n[plugins]\nversion = 3\n", 2),
        ("version = 3\n[x]\n", 3),
    ])
    func `it has the version of the node's own file`(file: String, version: Int) throws {
        let scratch = try Scratch()
        try writeFile(scratch.path + "/config.toml", Array(file.utf8))
        let outcome = try scratch.run("$L config containerd --version 2.1.9 --config config.toml")
        #expect(outcome.status == 0 && outcome.text.contains("\nversion = \(version)\n"), "\(outcome)")
        let names = tables(outcome.text)
        #expect(
            names.contains("[plugins.\"io.containerd.grpc.v1.cri\".containerd]") == (version == 2)
                && names.contains("[plugins.'io.containerd.cri.v1.images']") == (version == 3))
        // Pulls go by this list in containerd 2, whatever the file's version is.
        #expect(names.filter { $0.contains("io.containerd.transfer.v1.local") }.count == 2)
    }

    @Test func `what a node says for Kubernetes is not replaced`() throws {
        let scratch = try Scratch()
        let section = "[plugins.\"io.containerd.grpc.v1.cri\".containerd]"
        try writeFile(scratch.path + "/config.toml", Array("version = 2\n\(section)\n  disable_x = true\n".utf8))
        let old = try scratch.run("$L config containerd --version 1.7.24 --config config.toml")
        #expect(
            !tables(old.text).contains(section) && old.text.contains("# \(section)\n#   snapshotter = \"ldiff\"\n"),
            "\(old)")
        // These merge.
        #expect(
            tables(try scratch.run("$L config containerd --version 2.1.9 --config config.toml").text).contains(section))
        try writeFile(scratch.path + "/config.toml", Array("version = 2\n# \(section)\n".utf8))
        #expect(
            tables(try scratch.run("$L config containerd --version 1.7.24 --config config.toml").text).contains(section)
        )
    }

    @Test(arguments: [
        ("", "2.1.9", "its version is 1"), ("[plugins]\nversion = 2\n", "1.7.24", "its version is 1"),
        ("version = 4\n", "2.1.9", "its version is 4"), ("version = \"two\"\n", "2.1.9", "its version is 0"),
        ("version = 3\n", "1.7.24", "reads no file of version 3"),
    ])
    func `a file that the snippet would spoil is refused`(file: String, release: String, reason: String) throws {
        let scratch = try Scratch()
        try writeFile(scratch.path + "/config.toml", Array(file.utf8))
        let outcome = try scratch.run("$L config containerd --version \(release) --config config.toml")
        #expect(outcome.status == 69 && outcome.text.isEmpty && outcome.errors.contains(reason), "\(outcome)")
        #expect(try scratch.run("$L config containerd --version 2 --config nowhere.toml").status == 66)
        // What lies behind its first megabyte would be missed.
        let long = try scratch.run(
            "{ echo 'version = 2'; yes '# x' | head -c 2000000; } > long.toml; $L config containerd --version 2 --config long.toml"
        )
        #expect(long.status == 74 && long.text.isEmpty && long.errors.contains("too large"), "\(long)")
        #expect(try scratch.run("$L config containerd --version 2 --format 4").status == 64)
    }

    @Test func `layers are unpacked side by side where the release does`() throws {
        #expect(try snippet("--version 2.2 --rebase").contains("capabilities = [\"rebase\"]"))
        #expect(try Scratch().run("$L config containerd --version 2.1.9 --format 3 --rebase").status == 69)
    }

    @Test func `text in quotes cannot end them`() throws {
        let text = try snippet(#"--version 2 --root '/a"b\c'"#)
        #expect(text.contains(#"root = "/a\"b\\c""#))
    }

    @Test(arguments: [
        "", "--version 3", "--version x", "--version 1.x.y.z.q --driver overlay2x", "--version 2 --driver vfs",
        "--version 2 --address relative", "--version 2 --root \"$(printf '/\\377')\"",
    ])
    func `wrong usage is one line and 64`(arguments: String) throws {
        let outcome = try Scratch().run("$L config containerd \(arguments)")
        #expect(outcome.status == 64 && outcome.text.isEmpty && outcome.errorLines.count == 1, "\(outcome)")
    }
}
