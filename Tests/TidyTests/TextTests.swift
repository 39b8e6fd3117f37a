import Testing

/// Everything people wrote, other than this folder, which names what it forbids.
private func writtenFiles() throws -> [SourceFile] {
    try SourceTree.files(in: [
        "Sources", "Tests", "Fixtures", "Benchmarks", "perf", "scripts", ".ci", "Makefile", "Package.swift",
        "README.md",
        "ARCHITECTURE.md", "CONTRIBUTING.md",
    ]).filter { !$0.path.hasPrefix("Tests/TidyTests/") }
}

private func violations(of pattern: Regex<Substring>) throws -> [String] {
    try writtenFiles().flatMap { file in
        file.lines.enumerated().compactMap { index, line in
            line.contains(pattern) ? "\(file.path):\(index + 1): \(line)" : nil
        }
    }
}

@Suite struct TextTests {
    @Test func `nothing is left for later`() throws {
        let found = try violations(of: /\b(?:TODO|FIXME|XXX|HACK)\b|fatalError\("(?:not|un)implemented/)
        expectNone(found, "left for later")
    }

    @Test func `no path of one machine`() throws {
        let found = try violations(
            of: /\/farm\/|\/work\/(?:main|shared|steering|\.)|\/var\/tmp\/w\/|\/home\/[a-z]|\/Users\/[a-z]/)
        expectNone(found, "paths of one machine")
    }

    @Test func `no test is skipped without .ci/run knowing`() throws {
        let found = try SourceTree.swift("Tests").filter { !$0.path.hasPrefix("Tests/TidyTests/") }
            .flatMap { try matches(of: #"\.disabled\(|\.enabled\(if|XCTSkip|withKnownIssue"#, in: $0) }
        expectNone(found, "tests that may not run")
    }

    /// A reader of the repository has no other documents than its own.
    @Test func `every document that is named is there`() throws {
        let found = try SourceTree.swift("Sources", "Tests").filter { !$0.path.hasPrefix("Tests/TidyTests/") }
            .flatMap { try matches(of: #"\b(?!(?:README|ARCHITECTURE|CONTRIBUTING)\.md)[\w-]+\.md\b"#, in: $0) }
        expectNone(found, "documents that are not in the repository")
    }

    /// Alerts and dashboards that ask for what is not told stay silent.
    @Test func `the examples for Prometheus ask for metrics that the daemons tell`() throws {
        let told = try SourceTree.files(in: ["Sources/DaemonSupport/CallMetrics.swift"]).flatMap(\.lines)
            .flatMap { $0.matches(of: /label: "(ldiff_\w+)"/).map { String($0.output.1) } }
        #expect(Set(told).count == 6)
        let examples = try SourceTree.files(in: ["Sources/packaging/prometheus"])
        #expect(examples.count == 2)
        let asked = examples.flatMap(\.lines)
            .flatMap {
                $0.matches(of: /\bldiff_\w+/).map { String($0.output).replacing(/_(?:bucket|sum|count)$/, with: "") }
            }
        #expect(asked.count > 10)
        expectNone(Set(asked).subtracting(told).sorted(), "metrics that no daemon tells")
    }

    /// Swift Testing sees the end of an exit test's process only while no other child of the tests is a zombie: seen to hang
    /// for ever beside one. `runProgram`, `Daemon` and `CommandRunner` wait for theirs.
    @Test func `no test starts a program and leaves it to others to wait`() throws {
        let found = try SourceTree.swift("Tests").filter { !$0.path.hasPrefix("Tests/TidyTests/") }
            .flatMap { try matches(of: #"\bProcess\(\)|\bpopen\(|\bv?fork\(\)"#, in: $0) }
        expectNone(found, "children that nobody may wait for")
    }

    /// A manifest or an expectation is named by its tree and its kind, everything else by its file name.
    @Test func `every fixture says what it is for`() throws {
        let readme = try SourceTree.files(in: ["Fixtures/README.md"]).flatMap(\.lines).joined(separator: "\n")
        let paths = try SourceTree.paths(under: "Fixtures").filter { $0 != "Fixtures/README.md" }
        #expect(paths.count > 50)
        let unnamed = paths.sorted().filter { path in
            let name = String(path.split(separator: "/").last ?? "")
            if path.hasPrefix("Fixtures/trees/"), name.hasSuffix(".manifest") {
                return !readme.contains("`\(name.dropLast(".manifest".count))`")
            }
            if path.hasPrefix("Fixtures/expected/") {
                let parts = name.split(separator: ".", maxSplits: 1)
                let tree = parts[0]
                return !(readme.contains("`\(tree)`") || readme.contains("`\(tree).lower`"))
                    || !readme.contains("| `\(parts.count > 1 ? parts[1] : "")` |")
            }
            // Seeds have no names but their fuzzer's.
            if path.hasPrefix("Fixtures/fuzz/") {
                return !readme.contains("`\(path.split(separator: "/")[2].prefix { $0 != "." })`")
            }
            return !readme.contains(name)
        }
        expectNone(unnamed, "not in Fixtures/README.md")
    }

    @Test func `public types say what they are`() throws {
        let declaration = try Regex(
            #"^\s*(?:@[A-Za-z_]+\s+)*public\s+(?:final\s+|indirect\s+)?(?:struct|class|enum|protocol|actor)\s"#)
        var found: [String] = []
        for file in try SourceTree.swift("Sources") {
            for (index, line) in file.lines.enumerated() where line.firstMatch(of: declaration) != nil {
                var above = index - 1
                while above >= 0, file.lines[above].contains(/^\s*@/) { above -= 1 }
                let documented = above >= 0 && file.lines[above].contains(/^\s*\/\/\//)
                if !documented { found.append("\(file.path):\(index + 1): \(line)") }
            }
        }
        expectNone(found, "public types without a comment")
    }
}
