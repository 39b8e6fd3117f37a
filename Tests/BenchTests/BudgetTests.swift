import PlainJSON
import Testing

@testable import BenchHarness

@Suite struct BudgetTests {
    private func result(opens: Int, peakKiB: Int) -> BenchResult {
        var row = Row(
            role: .own, name: "ldiff", command: "", outcome: .measured(series(1, peakKiB: peakKiB)))
        row.report = JSONValue(
            parsing: "{\"io\":{\"mode\":\"auto\",\"opens\":\(opens),\"stats\":100,\"ringEnters\":5}}".utf8)
        let group = Group(title: "t", entries: 100, bytes: 0, rows: [row])
        return BenchResult(
            machine: Machine(facts: []), input: "t",
            jobs: [JobResult(job: .diff, isCold: false, runs: 1, groups: [group])])
    }

    private func budget(_ text: String) throws -> Budget { try Budget(#require(JSONValue(parsing: text.utf8))) }

    @Test(arguments: [(145, 10_240, false), (146, 10_240, true), (100, 20_481, true), (0, 0, false)])
    func `a limit is exceeded only by more`(opens: Int, peakKiB: Int, isExceeded: Bool) throws {
        let budget = try budget("{\"diff\":{\"systemCallsPerEntry\":2.5,\"peakMiB\":20,\"ringEntersPerEntry\":0.05}}")
        let found = budget.compare(result(opens: opens, peakKiB: peakKiB), [:])
        #expect(found.items.count == 3)
        #expect(found.isExceeded == isExceeded)
        #expect(found.uncounted.isEmpty)
        #expect(found.lines.joined().contains("EXCEEDED") == isExceeded)
    }

    @Test func `what was not counted is told`() throws {
        let budget = try budget("{\"diff\":{\"allocationsPer1000Entries\":10},\"apply\":{\"peakMiB\":1}}")
        let none = budget.compare(result(opens: 1, peakKiB: 1), [:])
        #expect(none.uncounted.count == 1 && none.items.count == 1 && !none.isExceeded)
        let counted = budget.compare(result(opens: 1, peakKiB: 1), [.diff: 11])
        #expect(counted.isExceeded)
    }

    @Test(arguments: [
        "{}", "{\"dif\":{\"peakMiB\":1}}", "{\"diff\":{\"seconds\":1}}", "{\"diff\":{\"peakMiB\":\"1\"}}",
    ])
    func `a budget that limits nothing known is refused`(text: String) throws {
        #expect(throws: BenchFailure.self) { _ = try budget(text) }
    }
}
