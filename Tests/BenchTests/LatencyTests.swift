import Testing

@testable import BenchHarness

@Suite struct LatencyTests {
    @Test func `what the programs print is read back`() throws {
        let times = (1...10).map { Double($0) / 1000 }
        let line = CallLatency.line(seconds: 1.5, [("Create", times), ("Get", times.reversed())])
        #expect(line == "1.500  Create 6000 10000 10000  Get 6000 10000 10000\n")
        let calls = try #require(CallLatency.parse(line))
        #expect(calls.map(\.name) == ["Create", "Get"])
        #expect(abs(calls[0].median - 0.006) < 1e-9 && abs(calls[1].slowTenth - 0.01) < 1e-9)
    }

    @Test(arguments: ["", "1.5", "x  Create 1 2 3", "1.5  Create 1 2", "1.5  Create 1 x 3", "1.5  Create 1 2 3  Get"])
    func `anything else is refused`(text: String) { #expect(CallLatency.parse(text) == nil) }

    @Test func `short times read well`() {
        #expect(Format.seconds(0.000087) == "87 µs" && Format.seconds(0.0012) == "1.20 ms")
    }

    /// Nobody who asks for nothing in particular is told that something is missing.
    @Test func `single calls are timed unasked only where both programs are there`() {
        let none = Peers(paths: [:])
        let caller = Peers(paths: [.snapshots: "/bin/true"])
        var options = BenchOptions()
        #expect(!options.effectiveJobs(none).contains(.latency))
        #expect(options.effectiveJobs(caller).contains(.latency) == TextFile.exists(ScenarioBuilder.daemon))
        options.quick = true
        #expect(!options.effectiveJobs(caller).contains { [.latency, .copyWithin, .applyCold].contains($0) })
        options.jobs = [.latency]
        #expect(options.effectiveJobs(none) == [.latency])
    }
}
