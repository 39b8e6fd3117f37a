import Testing

/// What `--help` of each verb must name: the flags of the contract.
private let flags: [(verb: String, flags: [String])] = [
    (
        "diff",
        [
            "--lower", "--dialect", "-o", "--output", "--compress", "--level", "--profile", "--digest",
            "--skip-unreadable", "--uid-map", "--gid-map",
        ]
    ),
    (
        "apply",
        [
            "--dialect", "--lower", "--digest", "--expect-digest", "--expect-diff-id", "--max-size", "--uid-map",
            "--gid-map",
        ]
    ),
    ("changes", ["--lower", "--dialect", "-0"]),
    ("size", ["--lower", "--dialect"]),
]

private let globalFlags = ["--io", "--workers", "--progress", "--json", "--quiet", "--verbose"]

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
}
