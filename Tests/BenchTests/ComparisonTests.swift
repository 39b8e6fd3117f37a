import PlainJSON
import Testing

@testable import BenchHarness

@Suite struct ComparisonTests {
    /// A result of one job with ldiff, a peer and a floor, as the harness writes it.
    private func stored(
        own: [Double], tar: [Double], kernel: String = "Linux 6.18", job: BenchJob = .diff
    ) throws -> StoredResult {
        let runs = { (seconds: [Double]) in
            Row.Outcome.measured(
                Series(
                    samples: seconds.map {
                        Sample(
                            seconds: $0, userSeconds: $0 / 4, systemSeconds: $0 / 2, peakKiB: 1, writtenBytes: nil)
                    }))
        }
        let group = Group(
            title: "tree", entries: 10, bytes: 10,
            rows: [
                Row(role: .own, name: "ldiff", command: "ldiff", outcome: runs(own)),
                Row(role: .peer(.tar), name: "GNU tar", command: "tar", outcome: runs(tar)),
            ])
        let result = BenchResult(
            machine: Machine(facts: [("kernel", kernel), ("load before", "\(own)")]), input: "tree",
            jobs: [JobResult(job: job, isCold: false, runs: own.count, groups: [group])])
        let text = result.json.prettyText
        let value = try #require(JSONValue(parsing: text.utf8))
        return try #require(StoredResult(value))
    }

    @Test func `a slower program is told from noise and from a slower machine`() throws {
        let before = try stored(own: [1, 1.01, 1.02, 1.03, 1.04], tar: [2, 2.01, 2.02, 2.03, 2.04])
        let slower = try stored(own: [1.5, 1.51, 1.52, 1.53, 1.54], tar: [2, 2.01, 2.02, 2.03, 2.05])
        var lines = BenchComparison(before, slower).lines
        #expect(lines.map(\.difference.verdict) == ["slower", "noise"])
        #expect(abs(lines[0].difference.ratio - 1.52 / 1.02) < 1e-6)

        let machine = try stored(own: [1.5, 1.51, 1.53, 1.54, 1.55], tar: [3, 3.01, 3.03, 3.04, 3.05])
        lines = BenchComparison(before, machine).lines
        let own = try #require(lines.first)
        #expect(own.difference.verdict == "slower")
        #expect(abs(own.difference.ratio / (own.peers ?? 0) - 1) < 0.001)

        let few = try stored(own: [9, 9, 9], tar: [9, 9, 9])
        lines = BenchComparison(try stored(own: [1, 2, 3], tar: [9, 9, 9]), few).lines
        #expect(lines.map(\.difference.verdict) == ["too few runs", "too few runs"])
        let faster = BenchComparison(slower, before).text
        #expect(faster.contains { $0.contains("ldiff") && $0.hasSuffix("faster") }, "\(faster)")
    }

    @Test func `what is not in both, and another machine, is told`() throws {
        let before = try stored(own: [1, 2], tar: [1, 2])
        let after = try stored(own: [1, 2], tar: [1, 2], kernel: "Linux 7", job: .size)
        let comparison = BenchComparison(before, after)
        #expect(comparison.lines.isEmpty)
        #expect(
            comparison.warnings == [
                "kernel: Linux 6.18, then Linux 7", "only before: diff, tree", "only after: size, tree",
            ])
        #expect(comparison.text.first == "nothing was measured in both")
    }

    @Test(
        arguments: [
            #"{"format":1,"machine":{"kernel":"a"},"jobs":[]}"#,
            #"{"format":2,"machine":[{"name":"kernel","value":"a"}],"jobs":[]}"#,
        ])
    func `results of both formats are read`(text: String) throws {
        let value = try #require(JSONValue(parsing: text.utf8))
        let machine = try #require(StoredResult(value)).machine
        #expect(machine.map(\.name) == ["kernel"] && machine.map(\.value) == ["a"])
    }

    @Test(arguments: ["[]", "{\"format\":3,\"jobs\":[]}", "{}"])
    func `other JSON is refused`(text: String) throws {
        #expect(StoredResult(try #require(JSONValue(parsing: text.utf8))) == nil)
    }

    @Test func `where the time went adds up, and the ring is told`() throws {
        let report = JSONValue.object([
            (
                "io",
                .object([
                    ("ringSubmissions", .number(1200)), ("ringEnters", .number(30)), ("batchedStats", .number(1000)),
                ])
            )
        ])
        let spending = try #require(Spending(series(1, 1, 1), processors: 4, report: report))
        #expect(abs(spending.own + spending.kernel + spending.idle - 1) < 1e-9)
        #expect(
            spending.line
                == "time of ldiff's, of 4 processors: 13 % own code, 38 % kernel, 50 % idle; "
                + "ring: 1,200 operations in 30 calls, 1,000 of them looks")
        // Half of what two processors had is idle, a quarter is others'.
        var sample = Sample(seconds: 1, userSeconds: 0.25, systemSeconds: 0.25, peakKiB: 1, writtenBytes: nil)
        sample.idleSeconds = 0.5 * Double(Machine.processors)
        let all = try #require(Spending(Series(samples: [sample]), processors: Machine.processors, report: nil))
        #expect(abs(all.idle - 0.5) < 1e-9)
        #expect(abs(all.own + all.kernel + (all.others ?? 0) + all.idle - 1) < 1e-9)
        #expect(Spending(Series(), processors: 2, report: nil) == nil)
        #expect(try #require(Spending(series(1), processors: 1, report: nil)).idle == 0)
    }
}
