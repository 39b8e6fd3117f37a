import Testing

/// `ldiff config containerd`. That containerd takes what it prints is seen in EndToEndTests.
@Suite struct ConfigTests {
    private func snippet(_ arguments: String) throws -> String {
        let outcome = try Scratch().run("$L config containerd \(arguments)")
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
