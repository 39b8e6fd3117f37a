import Foundation
import TestSupport
import Testing

/// `ldiff config ... --merge`, `config docker` and `config systemd`.
@Suite struct ConfigMergeTests {
    /// What a node of version 2 says, in every way that TOML has for it.
    private static let node = """
        # The node's own.
        version = 2 # as Debian has it
        root = '/var/lib/containerd'
        disabled_plugins = [
          "io.containerd.x.v1.[y]", # not a header: [a]
        ]

        [grpc]
          address = "/run/containerd/containerd.sock"

        [plugins]
          [plugins."io.containerd.grpc.v1.cri"]
            sandbox_image = "registry.local/pause:3.9"
            note = \"\"\"
        [plugins."io.containerd.grpc.v1.cri".containerd]
        snapshotter = "no value"\"\"\"
            [plugins . 'io.containerd.grpc.v1.cri' . "containerd"]
              # What pods are unpacked with.
              snapshotter = 'overlayfs'
              default_runtime_name = "runc"
              [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
                SystemdCgroup = true
          [plugins."io.containerd.service.v1.diff-service"]
            default = ["walking"]

        [[plugins."io.containerd.transfer.v1.local".unpack_config]]
          platform = "linux/arm64"
          snapshotter = "overlayfs"
          differ = "walking"
        """

    /// The file as Python reads TOML.
    private func read(_ name: String, in scratch: Scratch) throws -> [String: Any] {
        let script = "import tomllib, json, sys; json.dump(tomllib.load(open(sys.argv[1], 'rb')), sys.stdout)"
        let said = try scratch.make("python3 -c \"\(script)\" \(name)").output
        return try #require(try JSONSerialization.jsonObject(with: said) as? [String: Any])
    }

    private func value(_ root: [String: Any], _ path: String...) -> Any? {
        path.reduce(root as Any?) { ($0 as? [String: Any])?[$1] }
    }

    @Test func `what the node says stays, and what ldiff needs comes to it`() throws {
        let scratch = try Scratch()
        try writeFile(scratch.path + "/c.toml", Array(Self.node.utf8), mode: 0o640)
        let shown = try scratch.make("cp -p c.toml old; $L config containerd --release 2.1.9 --merge c.toml --dry-run")
        try scratch.make("cmp c.toml old")
        let edited = try scratch.make(
            "$L config containerd --release 2.1.9 --merge c.toml; test $(stat -c %a c.toml) = 640")
        #expect(shown.text == edited.text && edited.errors.isEmpty, "\(edited)")
        // The difference is one that patch takes.
        try scratch.make(
            "cp old again; $L config containerd --release 2.1.9 --merge again > d; cp old p; patch -s p d; cmp p c.toml"
        )
        let (old, new) = (try read("old", in: scratch), try read("c.toml", in: scratch))
        let cri = "io.containerd.grpc.v1.cri"
        #expect(value(new, "plugins", cri, "containerd", "snapshotter") as? String == "ldiff")
        for path in [["sandbox_image"], ["note"], ["containerd", "default_runtime_name"]] {
            let texts = [old, new].map { root in
                path.reduce(value(root, "plugins", cri)) { ($0 as? [String: Any])?[$1] } as? String
            }
            #expect(texts[0] == texts[1] && texts[0] != nil, "\(path)")
        }
        #expect(
            value(new, "plugins", cri, "containerd", "runtimes", "runc", "options", "SystemdCgroup") as? Bool == true)
        #expect(
            value(new, "plugins", "io.containerd.service.v1.diff-service", "default") as? [String] == [
                "ldiff-diff", "walking",
            ])
        let pairs = value(new, "plugins", "io.containerd.transfer.v1.local", "unpack_config") as? [[String: String]]
        #expect(pairs?.map { $0["snapshotter"] } == ["overlayfs", "ldiff"] && pairs?[0]["platform"] == "linux/arm64")
        #expect(value(new, "proxy_plugins", "ldiff", "type") as? String == "snapshot")
        #expect(value(new, "version") as? Int == 2 && value(new, "root") as? String == "/var/lib/containerd")
        #expect(
            edited.text.contains("-      snapshotter = 'overlayfs'\n+      snapshotter = \"ldiff\"\n"), "\(edited.text)"
        )
        // Once is enough.
        let again = try scratch.make("$L config containerd --release 2.1.9 --merge c.toml")
        #expect(again.text.isEmpty && again.errors.contains("has it all already"), "\(again)")
        // Another address and capability replace those before.
        try scratch.make("$L config containerd --release 2.2 --rebase --address /run/x.sock --merge c.toml")
        let third = try read("c.toml", in: scratch)
        #expect(value(third, "proxy_plugins", "ldiff", "address") as? String == "/run/x.sock")
        #expect(value(third, "proxy_plugins", "ldiff", "capabilities") as? [String] == ["rebase"])
    }

    @Test(arguments: ["1.6.20", "1.7.24", "2.1.9"]) func `a file that is not there is the snippet`(release: String)
        throws
    {
        let scratch = try Scratch()
        let made = try scratch.make("$L config containerd --release \(release) --merge c.toml")
        try scratch.make(
            "$L config containerd --release \(release) --format $(sed -n 's/^version = //p' c.toml) | cmp - c.toml; test $(stat -c %a c.toml) = 644"
        )
        #expect(made.text.hasPrefix("--- c.toml\n+++ c.toml\n@@ -0,0 +1,"), "\(made)")
        _ = try read("c.toml", in: scratch)
    }

    @Test(arguments: [
        ("version = 2\nproxy_plugins = { x = { type = \"snapshot\" } }\n", 69, "line 2"),
        ("version = 2\n[plugins]\n\"io.containerd.service.v1.diff-service\".default = [\"walking\"]\n", 69, "line 3"),
        ("version = 2\n[plugins.\"io.containerd.transfer.v1.local\"]\nunpack_config = []\n", 69, "line 3"),
        ("version = 2\nroot = \"/a\nb = 1\n", 65, "line 2"), ("version = 2\nx = [1,\n", 65, "line 2"),
        ("version = 2\n[x\n", 65, "line 2"), ("version = 2\nx =\n", 65, "line 2"),
        ("version = 2\nx = \"\u{0}\" y\n[a]b\n", 65, "line 3"),
    ])
    func `what cannot be edited safely is left alone`(file: String, status: Int, word: String) throws {
        let scratch = try Scratch()
        try writeFile(scratch.path + "/c.toml", Array(file.utf8))
        let outcome = try scratch.run("cp c.toml old; $L config containerd --release 2.1.9 --merge c.toml")
        #expect(Int(outcome.status) == status && outcome.text.isEmpty && outcome.errors.contains(word), "\(outcome)")
        try scratch.make("cmp c.toml old; test $(ls | wc -l) = 2")
    }

    @Test func `Docker's file gets what its release takes`() throws {
        let scratch = try Scratch()
        let plain = try scratch.make("$L config docker --release 20.10.24")
        #expect(
            plain.text == "{\n  \"experimental\": true,\n  \"storage-driver\": \"ldiff\"\n}\n" && plain.errors.isEmpty)
        let late = try scratch.make("$L config docker --release 27.5.1 --driver zfs")
        #expect(late.text.contains("\"ldiff.driver=zfs\"") && late.errors.contains("DOCKERD_DEPRECATED"))
        #expect(
            try scratch.make("$L config docker --release 28 --containerd-store").text.contains(
                "\"containerd-snapshotter\": true"))
        #expect(!(try scratch.make("$L config docker --release v29.0 --containerd-store").text.contains("features")))
        for (flags, status) in [
            ("--release 28", 69), ("--release 18.06", 69), ("--release 20.10 --containerd-store", 69), ("", 64),
            ("--release none", 64), ("--release 28 --containerd-store --driver overlay", 64),
        ] {
            let outcome = try scratch.run("$L config docker \(flags)")
            #expect(
                Int(outcome.status) == status && outcome.errorLines.count == 1 && outcome.text.isEmpty,
                "\(flags) \(outcome)")
        }
    }

    @Test func `Docker's own settings stay`() throws {
        let scratch = try Scratch()
        let file = """
            {
            \t"log-driver": "journald",
            \t"storage-driver": "overlay2",
            \t"storage-opts": ["ldiff.driver=aufs", "x=1"],
            \t"default-ulimits": {"nofile": {"Hard": 64000, "Name": "nofile"}}, "big": 12345678901234567890
            }

            """
        try writeFile(scratch.path + "/d.json", Array(file.utf8), mode: 0o600)
        let edited = try scratch.make(
            "$L config docker --release 20.10 --driver zfs --merge d.json; test $(stat -c %a d.json) = 600")
        #expect(edited.text.contains("-\t\"storage-driver\": \"overlay2\",\n"), "\(edited)")
        let text = try scratch.make("cat d.json").text
        #expect(
            text.contains("\n\t\"storage-driver\": \"ldiff\",\n") && text.contains("\"big\": 12345678901234567890"),
            "\(text)")
        let object = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        #expect(object["storage-opts"] as? [String] == ["x=1", "ldiff.driver=zfs"])
        #expect(((object["default-ulimits"] as? [String: Any])?["nofile"] as? [String: Any])?["Hard"] as? Int == 64000)
        #expect(try scratch.make("$L config docker --release 20.10 --driver zfs --merge d.json").text.isEmpty)
        for (wrong, status) in [("[1]", 65), ("{\"a\":1,\"a\":2}", 65), ("{", 65)] {
            try writeFile(scratch.path + "/w.json", Array(wrong.utf8))
            let outcome = try scratch.run("$L config docker --release 20.10 --merge w.json")
            #expect(Int(outcome.status) == status && outcome.errorLines.count == 1, "\(outcome)")
            #expect(try scratch.make("cat w.json").text == wrong)
        }
    }

    @Test(arguments: ["docker", "containerd"]) func `systemd takes the drop-in`(program: String) throws {
        let scratch = try Scratch()
        try scratch.make(
            """
            mkdir \(program).service.d
            printf '[Service]\\nExecStart=/bin/true\\n' > \(program).service
            $L config systemd \(program) --unpigz --merge \(program).service.d/ldiff.conf
            for unit in docker-ldiff-graphdriver containerd-ldiff-grpc; do
                printf '[Service]\\nExecStart=/bin/true\\n' > $unit.service; printf '[Socket]\\nListenStream=/run/x\\n' > $unit.socket
            done
            test -z "$($L config systemd \(program) --unpigz --merge \(program).service.d/ldiff.conf)"
            $L config systemd \(program) --unpigz | cmp - \(program).service.d/ldiff.conf
            SYSTEMD_UNIT_PATH=$PWD: systemd-analyze verify --man=no ./\(program).service 2>&1 | grep -F $PWD/\(program) && exit 1
            grep -q '^After=.*-ldiff-gr' \(program).service.d/ldiff.conf
            echo '[Unit]' > other.conf
            """)
        #expect(try scratch.run("$L config systemd \(program) --merge other.conf").status == 73)
        #expect(try scratch.run("$L config systemd \(program) --unpigz-directory 'a b'").status == 64)
    }

    @Test func `a difference is one that patch takes, however long and wherever`() throws {
        let scratch = try Scratch()
        // Changes near both ends and in the middle, with and without the last line feed.
        for ending in ["", "\n"] {
            var lines = ["version = 2"] + (1...60).map { "k\($0) = \($0)" }
            lines += ["[proxy_plugins.ldiff]", "address = \"old\"", "[z]"] + (1...30).map { "z\($0) = \($0)" }
            lines += ["[plugins.\"io.containerd.service.v1.diff-service\"]", "default = [\"a\", 'b']"]
            try writeFile(scratch.path + "/c", Array((lines.joined(separator: "\n") + ending).utf8))
            try scratch.make(
                "cp c p; $L config containerd --release 1.7.24 --merge c > d; patch -s p d; cmp p c; test $(grep -c ^@@ d) -gt 1"
            )
            let new = try read("c", in: scratch)
            #expect(
                value(new, "plugins", "io.containerd.service.v1.diff-service", "default") as? [String] == [
                    "ldiff-diff", "walking", "a", "b",
                ])
        }
    }
}
