import Testing

/// What `--help` of each verb must name: the flags of the contract.
private let flags: [(verb: String, flags: [String])] = [
    (
        "diff",
        [
            "--lower", "--dialect", "-o", "--output", "--compress", "--level", "--profile", "--digest",
            "--skip-unreadable", "--uid-map", "--gid-map", "--include", "--exclude",
        ]
    ),
    (
        "apply",
        [
            "--dialect", "--lower", "--digest", "--expect-digest", "--expect-diff-id", "--max-size", "--uid-map",
            "--gid-map", "--sparse", "--directory-attributes", "--best-effort", "--include", "--exclude",
        ]
    ),
    ("pack", ["-o", "--output", "--bottom", "--userxattr", "--expect-digest", "--expect-diff-id", "--best-effort"]),
    ("mount-packed", ["--way", "--directio"]), ("changes", ["--lower", "--dialect", "-0", "--include", "--exclude"]),
    ("size", ["--lower", "--dialect", "--include", "--exclude"]),
    (
        "image unpack",
        [
            "--root", "--home", "--driver", "--ref", "--platform", "--expect-digest", "--jobs", "--path", "--register",
            "--sync",
        ]
    ),
    (
        "image pack",
        [
            "--layer", "--home", "--top", "--base", "--ref", "--format", "--compress", "--env", "--cmd", "--label",
            "--annotation", "--squash", "--since", "--clamp-mtime",
        ]
    ), ("image rebase", ["--from", "--onto", "--ref"]),
]

private let globalFlags = ["--io", "--workers", "--progress", "--json", "--quiet", "--verbose"]

/// What `--help` of each operation of `ldiff layer` must name.
private let layerFlags: [(operation: String, flags: [String])] = [
    ("create", ["--parent", "--read-write", "--template", "--mount-label"]),
    ("remove", []), ("exists", ["EXIT STATUS: 0 the layer exists, 66 it does not"]), ("list", []),
    ("mount", ["--read-only", "--mount-label"]), ("unmount", []),
    (
        "diff",
        [
            "--parent", "--no-parent", "-o", "--compress", "--level", "--profile", "--digest", "--tar-split",
            "--include",
            "--exclude",
        ]
    ),
    (
        "apply",
        [
            "--parent", "--digest", "--expect-digest", "--expect-diff-id", "--tar-split", "--max-size", "--sync",
            "--sparse", "--directory-attributes", "--best-effort", "--include", "--exclude",
        ]
    ),
    ("changes", ["--parent", "--no-parent", "-0", "--include", "--exclude"]),
    ("size", ["--parent", "--no-parent", "--include", "--exclude"]), ("metadata", []),
    ("status", []), ("cleanup", []), ("check", ["--repair"]),
    ("migrate", ["--from", "--from-home", "--from-opt", "--to", "--dry-run", "--sync", "--sparse"]),
]

private let storeFlags = ["--driver", "--home", "--storage-opt", "--driver-opt", "--uid-map", "--gid-map"]

@Suite struct HelpTests {
    @Test(arguments: flags.map(\.verb)) func `help of a verb names its flags and shows examples`(verb: String) throws {
        let outcome = try Scratch().run("$L \(verb) --help")
        #expect(outcome.status == 0)
        #expect(outcome.errors.isEmpty)
        let own = flags.first { $0.verb == verb }?.flags ?? []
        #expect(!own.isEmpty)
        for flag in own + globalFlags { #expect(outcome.text.contains(flag), "\(flag)") }
        #expect(outcome.text.contains("EXAMPLES:\n  ldiff \(verb) "))
    }

    @Test func `help of the program lists verbs and statuses`() throws {
        let outcome = try Scratch().run("$L --help")
        #expect(outcome.status == 0)
        for word in ["diff", "apply", "changes", "size", "bench", "130 interrupted", "65  the layer"] {
            #expect(outcome.text.contains(word))
        }
    }

    @Test func `version is one line`() throws {
        let outcome = try Scratch().run("$L --version")
        #expect(outcome.status == 0)
        #expect(outcome.text.wholeMatch(of: /ldiff \d+\.\d+\.\d+\n/) != nil)
    }

    @Test(arguments: ["bash", "zsh", "fish"]) func `completions are generated`(shell: String) throws {
        let outcome = try Scratch().run("$L --generate-completion-script \(shell)")
        #expect(outcome.status == 0)
        #expect(outcome.text.contains("expect-diff-id"))
    }

    @Test(arguments: layerFlags.map(\.operation))
    func `help of an operation names its flags and shows examples`(operation: String) throws {
        let outcome = try Scratch().run("$L layer \(operation) --help")
        #expect(outcome.status == 0 && outcome.errors.isEmpty)
        // Lines are folded; names are not.
        let text = outcome.text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        let own = layerFlags.first { $0.operation == operation }?.flags ?? []
        for flag in own + storeFlags + globalFlags { #expect(text.contains(flag), "\(flag)") }
        #expect(text.contains("EXAMPLES: ") && text.contains("ldiff layer \(operation)"))
    }

    @Test func `help of layer lists the operations and the drivers' options`() throws {
        let text = try Scratch().make("$L layer --help").text
        for (operation, _) in layerFlags { #expect(text.contains("\n  \(operation) "), "\(operation)") }
        for word in ["overlay2.size=10G", "fuse-overlayfs", "aufs", "zfs.fsname"] { #expect(text.contains(word)) }
    }

    @Test func `help of every verb says each choice once, and has one version`() throws {
        let verbs =
            flags.map(\.verb) + layerFlags.map { "layer \($0.operation)" } + [
                "image list", "image inspect", "config containerd", "status", "bench", "compare", "toc", "assemble",
            ]
        for verb in verbs {
            let text = try Scratch().make("$L \(verb) --help").text
            #expect(text.split(separator: "\n").count { $0.hasPrefix("  --version") } == 1, "\(verb)")
            let folded = text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
            #expect(folded.firstMatch(of: /<[^ <>|]+\|[^<>]+>[^<(]*\(values:/) == nil, "\(verb)\n\(folded)")
        }
    }
}
