import Foundation
import PlainJSON
import Testing

@testable import BenchHarness

/// What somebody meets who runs `ldiff bench` for the first time.
@Suite struct StrangerTests {
    @Test(
        arguments: [
            (0.1, 0.02, nil), (1.5, 0.02, "load 1.5 on 2"), (0.1, 0.6, "60 %"), (nil, nil, nil), (2.4, 0.9, "90 %"),
        ] as [(Double?, Double?, String?)])
    func `a busy machine is told on top`(average: Double?, busy: Double?, expected: String?) {
        let warning = MachineLoad(average: average, busy: busy, processors: 2).warning
        #expect((warning == nil) == (expected == nil))
        if let expected { #expect(warning?.contains(expected) == true, "\(warning ?? "")") }
        var result = sampleResult()
        result.loadWarning = warning
        let page = HTMLReport.page(result)
        let top = page.range(of: "<p class=\"lead\">")?.lowerBound ?? page.startIndex
        #expect(page[..<top].contains("class=\"busy\"") == (expected != nil))
        #expect(result.json["loadWarning"]?.string == warning)
        #expect(ReportSchemaFaults.of(result) == [])
    }

    private enum ReportSchemaFaults {
        static func of(_ result: BenchResult) -> [String] {
            (try? schemaFaults(of: Array(result.json.prettyText.utf8), "bench")) ?? ["no schema"]
        }
    }

    @Test func `this machine tells how busy it is`() throws {
        let load = MachineLoad.now()
        #expect(load.average ?? -1 >= 0 && (0...1).contains(load.busy ?? -1) && load.processors > 0, "\(load)")
    }

    @Test(
        arguments: [
            ([1, 2], 0...1, 0.5), ([3, 1, 2], 0...2, 0.75), ([1, 2, 3, 4, 5], 0...4, 0.9375),
            ([1, 2, 3, 4, 5, 6], 0...5, 0.96875), (Array(1...9).map(Double.init), 1...7, 0.9609375),
            (Array(1...20).map(Double.init), 5...14, 0.958611),
        ] as [([Double], ClosedRange<Int>, Double)])
    func `the median's interval is that of the order of the runs`(
        values: [Double], places: ClosedRange<Int>, confidence: Double
    ) throws {
        let interval = try #require(MedianInterval(values))
        let sorted = values.sorted()
        #expect(interval.range == sorted[places.lowerBound]...sorted[places.upperBound])
        #expect(abs(interval.confidence - confidence) < 1e-6)
    }

    @Test func `a single run has no spread, no winner and no star`() throws {
        #expect(MedianInterval([1]) == nil)
        var result = sampleResult()
        for index in result.jobs[0].groups[0].rows.indices {
            guard case .measured(let series) = result.jobs[0].groups[0].rows[index].outcome else { continue }
            result.jobs[0].groups[0].rows[index].outcome = .measured(Series(samples: [series.samples[0]]))
        }
        let group = result.jobs[0].groups[0]
        #expect(group.best == nil)
        let cells = TextTable.cells(group.rows[0], in: group)
        #expect(cells.count == TextTable.headings.count && cells[3...5] == ["", "", ""], "\(cells)")
        let text = TextTable.lines(result.jobs[0], processors: 2, colors: false)
        #expect(!text.contains { $0.hasPrefix("*") })
        let rows = result.json["jobs"]?.elements[0]["groups"]?.elements[0]["rows"]?.elements ?? []
        #expect(rows[0]["spread"] == nil && rows[0]["medianInterval"] == nil && rows[0]["medianSeconds"] != nil)
        #expect(ReportSchemaFaults.of(result) == [])
        let page = HTMLReport.page(result)
        #expect(!page.contains("class=\"dots\"") && !page.contains(" best\""))
        // With several runs of the first two there are all of them.
        #expect(sampleResult().jobs[0].groups[0].best == 0)
        #expect(HTMLReport.page(sampleResult()).contains("class=\"dots\""))
    }

    @Test func `words are explained once, commands are shown, plots fit a narrow page`() throws {
        let page = HTMLReport.page(sampleResult())
        for (word, _) in Words.all + Words.plots.map({ (word: $0.0, meaning: $0.1) }) {
            #expect(page.components(separatedBy: "<dt>\(SVGPlot.escaped(word))</dt>").count == 2, "\(word)")
            #expect(Words.plots.contains { $0.0 == word } || Words.lines.count { $0.hasPrefix("  \(word) ") } == 1)
        }
        #expect(page.contains("<code>tool &lt;ldiff&gt; &amp; &quot;more&quot;</code>"))
        let boxes = page.matches(of: /viewBox="0 0 (\d+) \d+" width="\d+" height="\d+"/).map { Int($0.output.1) }
        #expect(boxes.count == 7 && boxes.allSatisfy { $0 == 440 })
    }

    @Test(arguments: PeerName.allCases) func `a missing peer says how an installed user gets it`(peer: PeerName) {
        let text = peer.installation
        #expect(text.contains("apt-get install") || text.contains("in ldiff's source"), "\(text)")
        #expect(!text.contains("scripts/"))
    }

    @Test func `the facts have date, command and disk`() throws {
        let folder = try TestFolder()
        #expect(currentDate().wholeMatch(of: /20\d\d-[01]\d-[0-3]\d [0-2]\d:[0-5]\d UTC/) != nil)
        #expect(!Disk.description(of: folder.path).isEmpty)
        #expect(Disk.description(of: "/proc") == "no device of its own")
        #expect(Disk.description(of: folder.path + "/none") == "unknown")
    }

    @Test func `only what bench left is cleaned away`() throws {
        let folder = try TestFolder()
        let gone = try Pipeline(["sh", "-c", "echo $$"]).run(sink: .memory).output
        let process = String(decoding: gone, as: UTF8.self).trimmed
        let ours = [
            "synthetic", "tiny-4000", "ten", "bench/x.tar", "million.partial-\(process)", "ldiff-bench-\(process)-1",
        ]
        let others = [
            "containerd", "tiny-", "linux-source-2", "kernel", "ldiff-bench-\(getpid())-2",
            "million.partial-\(getpid())",
            "roots.partial-\(process)",
        ]
        for name in ours + others {
            try TextFile.makeDirectories(folder.path + "/" + name)
            try TextFile.write("x", to: "\(folder.path)/\(name)/file")
        }
        #expect(CacheContents.line(in: folder.path)?.contains("(6 inputs") == true)
        var said: [String] = []
        try CacheContents.remove(in: folder.path) { said.append($0) }
        #expect(said.count == 6 && said.allSatisfy { $0.hasPrefix("removed \(folder.path)/") }, "\(said)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() == others.sorted())
        #expect(CacheContents.line(in: folder.path) == nil)
    }
}

@Suite(.serialized) struct StoppedBenchTests {
    @Test func `a run that is stopped prints and keeps what it has`() throws {
        let folder = try TestFolder()
        try SyntheticTree(shape: .mixed, entries: 50).make(at: folder.path + "/tree") { _ in }
        let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
            .appending(path: "ldiff").path
        let script = """
            cd '\(folder.path)'
            LDIFF_CACHE=$PWD/cache '\(program)' bench diff --runs 1000 --against tar --input tree --json r.json --report r.html >said &
            process=$!
            for try in $(seq 300); do [ -e r.json.unfinished ] && break; sleep 0.1; done
            sleep 0.3; kill -INT $process; wait $process; echo $?
            """
        let result = try Pipeline(["bash", "-mc", script]).run(sink: .memory)
        #expect(String(decoding: result.output, as: UTF8.self).trimmed == "130")
        let said = TextFile.read(folder.path + "/said")
        // Each contender at once, and the table in the end.
        #expect(
            said.contains(/diff, tree: ldiff: .* \(1 of 1000 runs\)/) && said.contains("diff, tree: GNU tar | cat: "),
            "\(said)")
        let end = try #require(said.range(of: "stopped; until then:"), "\(said)")
        #expect(said[end.upperBound...].contains("GNU tar") && said.contains("r.json.unfinished"))
        let bytes = try #require(TextFile.bytes(folder.path + "/r.json.unfinished"))
        #expect(try schemaFaults(of: bytes, "bench") == [])
        let rows = JSONValue(parsing: bytes)?["jobs"]?.elements[0]["groups"]?.elements[0]["rows"]?.elements ?? []
        #expect(rows.first?["seconds"]?.elements.isEmpty == false)
        #expect(TextFile.read(folder.path + "/r.html.unfinished").contains("</html>"))
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
        #expect(names == ["cache", "r.html.unfinished", "r.json.unfinished", "said", "tree"])
    }

    @Test func `cleaning is the command's, too, and nothing else is done with it`() throws {
        let folder = try TestFolder()
        try TextFile.makeDirectories(folder.path + "/synthetic")
        let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
            .appending(path: "ldiff").path
        let wrong = try Pipeline(["sh", "-c", "'\(program)' bench diff --clean; echo $?"]).run(sink: .memory)
        #expect(String(decoding: wrong.output, as: UTF8.self).trimmed == "64")
        let script = "LDIFF_CACHE='\(folder.path)' '\(program)' bench --clean"
        let first = try Pipeline(["sh", "-c", script]).run(sink: .memory)
        #expect(String(decoding: first.output, as: UTF8.self).contains("removed \(folder.path)/synthetic"))
        let second = try Pipeline(["sh", "-c", script]).run(sink: .memory)
        #expect(String(decoding: second.output, as: UTF8.self).contains("nothing of bench is in"))
    }
}
