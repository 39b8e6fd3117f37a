import Foundation
import PlainJSON
import TestSupport
import Testing

@testable import BenchHarness

/// What is wrong with a report, by the schema.
func schemaFaults(of bytes: [UInt8], _ name: String) throws -> [String] { try ReportSchema().faults(of: bytes, name) }

/// A result with everything that an output must show: a peer, a missing one, a failed one, a floor, a name to escape.
func sampleResult() -> BenchResult {
    func row(_ role: Contender.Role, _ name: String, _ outcome: Row.Outcome, bytes: UInt64 = 0) -> Row {
        Row(role: role, name: name, command: "tool <\(name)> & \"more\"", outcome: outcome, outputBytes: bytes)
    }
    let rows = [
        row(.own, "ldiff", .measured(series(0.3, 0.31, 0.32, peakKiB: 40_960)), bytes: 1_360_000_000),
        row(.peer(.tar), "GNU tar <x> & co", .measured(series(0.9, 0.95, 1.0)), bytes: 1_370_000_000),
        row(.peer(.bsdtar), "bsdtar", .measured(series(0.25, 0.4, 0.5))),
        row(.peer(.docker), "Docker 20.10", .unavailable("not built: perf/peers/build")),
        row(.peer(.containerd), "containerd 1.6", .failed("its layer has other contents")),
        row(.floor, "floor: read", .measured(series(0.25, 0.25, 0.25))),
    ]
    let group = Group(title: "linux-source", entries: 83_731, bytes: 1_300_000_000, rows: rows)
    let growth = [1000, 10_000, 100_000].map { (entries: UInt64) in
        Group(
            title: "\(Format.count(entries)) entries", entries: entries, bytes: 1000,
            rows: [
                row(.own, "ldiff", .measured(series(Double(entries) / 900_000))),
                row(.peer(.tar), "GNU tar", .measured(series(Double(entries) / 300_000))),
            ])
    }
    let machine = Machine(facts: [("kernel", "Linux 6.18"), ("tar", "tar (GNU tar) 1.34")])
    return BenchResult(
        machine: machine, input: "linux-source: 83,731 entries",
        jobs: [
            JobResult(job: .diff, isCold: false, runs: 3, groups: [group]),
            JobResult(
                job: .diffCold, isCold: true, runs: 3, groups: [],
                failure: BenchFailure(.unavailable, "cold runs need root, to drop the caches")),
            JobResult(job: .scale, isCold: false, runs: 3, groups: growth),
        ])
}

@Suite struct TableTests {
    @Test func `columns are aligned and the best row is marked`() throws {
        let lines = TextTable.lines(sampleResult().jobs[0], processors: 2, colors: false)
        let heading = try #require(lines.first { $0.contains("linux-source") && $0.contains("median") })
        let own = try #require(lines.first { $0.contains("ldiff ") && $0.contains("0.310 s") })
        let tar = try #require(lines.first { $0.contains("GNU tar") && $0.contains("0.950 s") })
        #expect(own.hasPrefix("* ldiff"))
        #expect(tar.hasPrefix("  GNU tar"))
        #expect(heading.count == own.count && own.count == tar.count)
        #expect(tar.contains(" 3.06 "))
    }

    @Test func `reasons, warnings and the floor are told`() {
        let text = TextTable.lines(sampleResult().jobs[0], processors: 2, colors: false).joined(separator: "\n")
        #expect(text.contains("Docker 20.10") && text.contains("not built: perf/peers/build"))
        #expect(text.contains("failed: its layer has other contents"))
        #expect(text.contains("warning: bsdtar: runs vary, which of the two is faster is not proven"))
        #expect(text.contains("ldiff takes 1.24 times the floor"))
        #expect(!text.contains("\u{1b}"))
    }

    @Test func `a job that could not run says why`() {
        let text = TextTable.lines(sampleResult().jobs[1], processors: 2, colors: true).joined(separator: "\n")
        #expect(text.contains("not measured: cold runs need root"))
    }

    @Test func `the status tells what went wrong`() {
        var result = sampleResult()
        #expect(result.outcome(asked: nil) == .incomplete)
        result.jobs.remove(at: 1)
        #expect(result.outcome(asked: nil) == .incomplete)
        result.jobs[0].groups[0].rows.removeAll { if case .failed = $0.outcome { true } else { false } }
        #expect(result.outcome(asked: nil) == .done)
        #expect(result.outcome(asked: [.docker]) == .incomplete)
        result.jobs[0].groups[0].rows[0].outcome = .failed("wrong")
        #expect(result.outcome(asked: nil) == .failed)
    }
}

@Suite struct JSONTests {
    @Test func `every run is in the file`() throws {
        let bytes = Array(sampleResult().json.prettyText.utf8)
        let whole = try #require(try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])
        #expect(whole["format"] as? Int == 2)
        let machine = try #require(whole["machine"] as? [[String: String]])
        #expect(machine.first { $0["name"] == "kernel" }?["value"] == "Linux 6.18")
        let jobs = try #require(whole["jobs"] as? [[String: Any]])
        #expect(jobs.map { $0["job"] as? String } == ["diff", "diff-cold", "scale"])
        let groups = try #require(jobs[0]["groups"] as? [[String: Any]])
        let rows = try #require(groups[0]["rows"] as? [[String: Any]])
        #expect(rows[0]["seconds"] as? [Double] == [0.3, 0.31, 0.32])
        #expect(rows[0]["outputBytes"] as? Int == 1_360_000_000)
        #expect(rows[1]["peer"] as? String == "tar")
        #expect(rows[1]["ratio"] as? Double == 3.064516)
        #expect(rows[3]["unavailable"] as? String == "not built: perf/peers/build")
        #expect(rows[4]["failed"] as? String == "its layer has other contents")
        #expect(try ReportSchema().faults(of: bytes, "bench") == [])
        // The harness reads what it wrote.
        #expect(JSONValue(parsing: bytes) == sampleResult().json)
    }

    @Test(arguments: [
        "{\"a\":[1,-2.5,3e2,true,false,null,\"x\\n\\\"\\\\\"]}", "[]", "{}", "\"\\u0041ä\"",
        " [ 1 , { \"b\" : [ ] } ] ",
    ])
    func `values are read`(text: String) throws {
        let value = try #require(JSONValue(parsing: text.utf8))
        let ours = try JSONSerialization.jsonObject(with: Data(value.text.utf8), options: .fragmentsAllowed)
        let theirs = try JSONSerialization.jsonObject(with: Data(text.utf8), options: .fragmentsAllowed)
        #expect((ours as? NSObject) == (theirs as? NSObject))
    }

    @Test(arguments: ["", "{", "[1,]", "{\"a\"}", "nul", "1 2", "\"\u{1}\"", String(repeating: "[", count: 100)])
    func `what is no JSON is refused`(text: String) { #expect(JSONValue(parsing: text.utf8) == nil) }
}

@Suite struct HTMLTests {
    /// The page as a tree; XML is stricter than HTML, so void elements are closed first.
    private func parsed(_ page: String) throws -> XMLDocumentReader {
        var text = page.replacingOccurrences(of: "<!DOCTYPE html>", with: "")
        text.replace(/<meta ([^>]*)>/) { "<meta \($0.output.1)/>" }
        return try XMLDocumentReader(text)
    }

    @Test func `the page is whole, self-contained and names everything`() throws {
        let page = HTMLReport.page(sampleResult())
        let document = try parsed(page)
        // Bars of diff, of its memory and of three sizes; two plots of growth.
        #expect(document.count("svg") == 7)
        #expect(document.count("script") == 0 && document.count("link") == 0 && document.count("img") == 0)
        #expect(!page.contains("http://") && !page.contains("https://") && !page.contains("url("))
        #expect(page.contains("prefers-color-scheme: dark"))
        #expect(document.ids.isSuperset(of: ["diff", "diff-cold", "scale", "memory", "machine", "overview"]))
        #expect(document.links.allSatisfy { document.ids.contains(String($0.dropFirst())) })
        #expect(page.contains("GNU tar &lt;x&gt; &amp; co"))
        #expect(document.text.contains("GNU tar <x> & co") && document.text.contains("not built: perf/peers/build"))
    }

    @Test func `bars are as long as their values`() throws {
        let svg = SVGPlot.bars(
            [
                .init(label: "a", value: 1, runs: [0.5, 1, 2], interval: 0.5...2, text: "1 s", style: "own"),
                .init(label: "b", value: 2, text: "2 s", style: "peer"),
            ], title: "t")
        let document = try XMLDocumentReader(svg)
        let widths = document.attributes(of: "rect", "width").compactMap(Double.init)
        #expect(widths.count == 2 && widths[1] == widths[0] * 2)
        // A dot a run where there are several, at the place of its value.
        let paths = document.elements.filter { $0.attributes["class"] == "dots" }.compactMap { $0.attributes["d"] }
        let right = 142 + widths[1]
        #expect(paths.count == 1 && paths[0].components(separatedBy: "M").count == 4)
        #expect(paths[0].contains("M\(SVGPlot.number(right)) "), "\(paths)")
        #expect(document.elements.count { $0.attributes["class"] == "whisker" } == 1)
    }

    @Test func `lines stay inside their frame`() throws {
        let page = HTMLReport.page(sampleResult())
        let document = try parsed(page)
        let points = document.attributes(of: "circle", "cx").compactMap(Double.init)
        #expect(points.count == 12)
        #expect(points.allSatisfy { (78...430).contains($0) })
        #expect(document.attributes(of: "circle", "cy").compactMap(Double.init).allSatisfy { (30...236).contains($0) })
    }

    @Test func `nothing to draw draws nothing`() {
        #expect(SVGPlot.bars([], title: "t").isEmpty)
        #expect(SVGPlot.lines([], title: "t", xTitle: "", yTitle: "", yText: { "\($0)" }).isEmpty)
    }
}
