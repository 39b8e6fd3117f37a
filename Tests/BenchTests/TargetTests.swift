import Testing

@testable import BenchHarness

@Suite struct TargetTests {
    private func group(
        own: Series, _ peers: [(PeerName, String, Series)], entries: UInt64 = 100, outputs: (UInt64, UInt64) = (0, 0)
    ) -> Group {
        var rows = [Row(role: .own, name: "ldiff", command: "", outcome: .measured(own), outputBytes: outputs.0)]
        for (peer, name, series) in peers {
            rows.append(
                Row(
                    role: .peer(peer), name: name, command: "", outcome: .measured(series), outputBytes: outputs.1))
        }
        return Group(title: "t", entries: entries, bytes: 0, rows: rows)
    }

    private func targets(_ job: BenchJob, _ groups: Group...) -> [String: TargetResult] {
        let result = BenchResult(
            machine: Machine(facts: []), input: "t", isReference: true,
            jobs: [JobResult(job: job, isCold: false, runs: 1, groups: groups)])
        return Dictionary(uniqueKeysWithValues: result.targets.map { ($0.id, $0) })
    }

    @Test(arguments: [(3.5, TargetResult.State.met), (3.4, .missed)])
    func `a ratio is met from its factor on`(seconds: Double, state: TargetResult.State) throws {
        let found = targets(.diffCold, group(own: series(1), [(.tar, "GNU tar | cat", series(seconds))]))
        #expect(found["P2"]?.state == state)
        #expect(found["P1"] == nil)
    }

    @Test func `one missed figure is enough, and one that is not measured is told`() throws {
        let slow = targets(.size, group(own: series(1), [(.docker, "d", series(2)), (.du, "du", series(5))]))
        #expect(slow["P3"]?.state == .missed)
        let alone = targets(.size, group(own: series(1), [(.docker, "d", series(4))]))
        #expect(alone["P3"]?.state == .unmeasured)
        #expect(alone["P3"]?.details.contains("du not measured") == true)
    }

    @Test(arguments: [(1.35, TargetResult.State.met), (1.4, .missed)])
    func `zstd is the measure of the row on the finished archive`(own: Double, state: TargetResult.State) throws {
        let rows: [(PeerName, String, Series)] = [
            (.zstd, "GNU tar | zstd -3", series(0.1)), (.zstd, "zstd -3, finished tar", series(1)),
        ]
        #expect(targets(.diffZstd, group(own: series(own), rows))["P9"]?.state == state)
    }

    @Test(arguments: [(125, TargetResult.State.met), (126, .missed)] as [(UInt64, TargetResult.State)])
    func `a compressed layer may be a quarter larger`(bytes: UInt64, state: TargetResult.State) throws {
        let found = targets(
            .diffGzip, group(own: series(1), [(.containerd, "c", series(13))], outputs: (bytes, 100)))
        #expect(found["P8"]?.state == state)
    }

    @Test func `memory counts the largest job, and a million apart`() throws {
        let small = group(own: series(1, peakKiB: 97 << 10), [])
        let large = group(own: series(1, peakKiB: 200 << 10), [], entries: 1_000_000)
        #expect(targets(.apply, small)["P10"]?.state == .missed)
        #expect(targets(.scale, large)["P10"]?.state == .met)
    }

    @Test(arguments: [(12.5, TargetResult.State.met), (12.6, .missed)])
    func `a million entries cost little more than their share`(seconds: Double, state: TargetResult.State) throws {
        let found = targets(
            .scale, group(own: series(1), [], entries: 100_000), group(own: series(seconds), [], entries: 1_000_000))
        #expect(found["P11"]?.state == state)
    }
}
