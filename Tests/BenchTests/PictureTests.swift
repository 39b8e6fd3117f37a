import Foundation
import PlainJSON
import Testing

@testable import BenchHarness

private let top = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()
private let kept = top.appending(path: "perf/runs/2026-11-21-amd-epyc-whole/bench.json").path

@Suite struct PictureTests {
    /// Made with: ldiff bench diff changes apply apply-gz diff-gz small-layers --picture perf/figures.svg --from (that file)
    @Test func `README's picture is what the kept run gives`() throws {
        let jobs: [BenchJob] = [.diff, .changes, .apply, .applyGzip, .diffGzip, .smallLayers]
        let drawn = try FiguresPicture(kept, jobs: jobs).svg
        let shown = try String(contentsOf: top.appending(path: "perf/figures.svg"), encoding: .utf8)
        #expect(drawn == shown)
    }

    @Test func `every time of every job is a bar, with room for its text`() throws {
        let result = try StoredResult(path: kept)
        let rows = result.groups.flatMap { group in group.rows.filter { $0.role != "floor" } }
        let svg = try FiguresPicture(kept).svg
        let document = try XMLDocumentReader(svg)
        let bars = document.elements.filter { $0.attributes["class"] == "bar" }
        #expect(bars.count == rows.count)
        #expect(bars.count > 50)
        for bar in bars {
            let start = try #require(bar.attributes["x"].flatMap(Double.init))
            let end = start + (try #require(bar.attributes["width"].flatMap(Double.init)))
            #expect(start == 142 && end <= 322)
        }
        #expect(document.text.contains("14.0x"))
        #expect(document.text.contains("27.0 s"))
        #expect(svg.contains("prefers-color-scheme: dark"))
    }

    /// Each table of figures is compared with the runs that it is said to come from.
    @Test(arguments: [
        FigureTable(section: "## Overview", files: ["2026-11-21-amd-epyc-whole/bench"], rows: 12, times: 4, ratios: 2),
        FigureTable(
            section: "### Images and layers in parts",
            files: ["2026-11-30-images/images", "2026-11-30-images/formats"], rows: 6, times: 2, ratios: 0),
    ])
    func `the figures of the article are those of the kept runs`(_ table: FigureTable) throws {
        var medians: Set<String> = []
        var ratios: Set<String> = []
        for file in table.files {
            for group in try StoredResult(path: top.appending(path: "perf/runs/\(file).json").path).groups {
                guard let own = group.rows.first(where: { $0.role == "ldiff" })?.median else { continue }
                for row in group.rows {
                    let ratio = row.median / own
                    medians.formUnion([Format.fixed(row.median, 3), Format.fixed(row.median, 4)])
                    ratios.formUnion([Format.fixed(ratio, 1), Format.fixed(ratio, 0)])
                }
            }
        }
        let article = top.appending(path: "Sources/LayerKit/LayerKit.docc/Figures.md")
        let lines = try String(contentsOf: article, encoding: .utf8).split(separator: "\n")
        let start = try #require(lines.firstIndex { $0 == table.section })
        let rows = lines[(start + 1)...].prefix { !$0.hasPrefix("##") }
            .filter { $0.hasPrefix("|") && $0.contains("**") }
        #expect(rows.count == table.rows)
        for row in rows {
            let times = row.matches(of: /[0-9]+\.[0-9]{3,4}/).map { String($0.output) }
            #expect(times.count >= table.times)
            expectNothing(times.filter { !medians.contains($0) }, row)
            let shown = row.matches(of: /\(([0-9]+(?:\.[0-9])?)x\)/).map { String($0.output.1) }
            #expect(shown.count >= table.ratios)
            expectNothing(shown.filter { !ratios.contains($0) }, row)
        }
    }

    struct FigureTable: Sendable {
        let section: String
        let files: [String]
        let rows: Int
        let times: Int
        let ratios: Int
    }

    private func expectNothing(_ unknown: [String], _ row: Substring) {
        #expect(unknown.isEmpty, "\(row)")
    }

    /// A bar twice as long is a time twice as long; names come from results, which anybody may have written.
    @Test func `lengths are times, and names are text`() throws {
        let text = """
            {"format": 1, "machine": {"kernel": "<b>"}, "jobs": [{"job": "diff", "cold": true, "groups": [{"title": "t", "rows": [
              {"name": "ldiff", "role": "ldiff", "seconds": [1, 1, 1]},
              {"name": "a & <b>", "role": "peer", "seconds": [2, 2, 2]},
              {"name": "floor", "role": "floor", "seconds": [9]}]}]}]}
            """
        let folder = FileManager.default.temporaryDirectory.appending(path: "ldiff-picture-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = folder.appending(path: "bench.json")
        try text.write(to: file, atomically: true, encoding: .utf8)
        let document = try XMLDocumentReader(try FiguresPicture(file.path, jobs: [.diff]).svg)
        let lengths = document.elements.filter { $0.attributes["class"] == "bar" }
            .compactMap { $0.attributes["width"].flatMap(Double.init) }
        #expect(lengths == [90, 180])
        #expect(document.text.contains("a &amp; &lt;b&gt;") || document.text.contains("a & <b>"))
        #expect(document.text.contains(", cold"))
        #expect(throws: BenchFailure.self) { try FiguresPicture(file.path, jobs: [.apply]) }
    }
}
