import PlainJSON

/// One result of the harness as a picture that stands alone: bars of ldiff and its peers, job below job.
///
/// Colours follow the reader's light or dark screen. It is narrow, so that its text can still be read at 400 pixels.
package struct FiguresPicture {
    private let result: StoredResult
    private let jobs: [BenchJob]

    /// Reads a file that `--json` wrote. `jobs` in the order in which they are drawn; all of the result if empty.
    package init(_ path: String, jobs: [BenchJob] = []) throws(BenchFailure) {
        result = try StoredResult(path: path)
        self.jobs = jobs
        for job in jobs where !result.groups.contains(where: { Self.job($0) == job }) {
            throw BenchFailure(.usage, "\(path) has no job \(job.rawValue)")
        }
        guard !groups.isEmpty else { throw BenchFailure(.usage, "\(path) has no times of ldiff") }
    }

    /// Of what was measured until now.
    init?(_ result: BenchResult) {
        guard let stored = StoredResult(result.json) else { return nil }
        self.result = stored
        jobs = []
    }

    /// Writes the picture; the file appears when it is complete.
    package func write(to path: String) throws(BenchFailure) { try TextFile.write(svg, to: path) }

    /// What is drawn: of each job every input on which ldiff was measured, with all programs beside it.
    private var groups: [(title: String, rows: [StoredResult.Row])] {
        let named = jobs.isEmpty ? result.groups : jobs.flatMap { job in result.groups.filter { Self.job($0) == job } }
        return named.compactMap { group in
            let rows = group.rows.filter { $0.role != "floor" }
            guard let own = rows.first, own.role == "ldiff", own.median > 0 else { return nil }
            let isAlone = named.filter { $0.job == group.job }.count == 1
            let title = (Self.job(group)?.title ?? group.job) + (group.job.hasSuffix(", cold") ? ", cold" : "")
            return (isAlone ? title : "\(title): \(group.title)", rows)
        }
    }

    /// A job that was cold because one asked for it is called `diff, cold`.
    private static func job(_ group: StoredResult.Group) -> BenchJob? {
        group.job.split(separator: ",").first.flatMap { BenchJob(rawValue: String($0)) }
    }

    private static let (width, left, right, margin) = (440.0, 142.0, 118.0, 10.0)
    private static let (line, gap) = (19.0, 30.0)

    var svg: String {
        var body = ""
        var top = Self.margin
        for group in groups {
            body += text(group.title, Self.margin, top + 13, "title")
            top += 20
            body += bars(group.rows, from: top)
            top += Self.line * Double(group.rows.count) + Self.gap - 20
        }
        for note in notes {
            body += text(note, Self.margin, top + 12, "note")
            top += 16
        }
        let (wide, high) = (Int(Self.width), Int(top + Self.margin))
        return """
            <svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 \(wide) \(high)" width="640" \
            height="\(high * 640 / wide)">
            <title>\(SVGPlot.escaped(summary))</title>
            <style>\(Self.style)</style>
            <rect class="paper" width="\(wide)" height="\(high)" rx="6"/>
            \(body)</svg>

            """
    }

    /// Every figure as a sentence, for those who hear a page.
    private var summary: String {
        groups.map { group in
            "\(group.title): " + group.rows.map { "\($0.name) \(Format.seconds($0.median))" }.joined(separator: ", ")
        }.joined(separator: "; ")
    }

    private func bars(_ rows: [StoredResult.Row], from top: Double) -> String {
        let span = Self.width - Self.left - Self.right
        let most = rows.flatMap(\.seconds).max() ?? 0
        guard most > 0, let own = rows.first?.median else { return "" }
        let number = SVGPlot.number
        return rows.enumerated().map { index, row in
            let middle = top + Self.line * Double(index) + Self.line / 2
            let isOwn = row.role == "ldiff"
            var svg = "<g class=\"\(isOwn ? "own" : "peer")\">"
            svg += text(SVGPlot.shortened(row.name), Self.left - 7, middle + 4.5, "", anchor: "end")
            svg += "<rect class=\"bar\" x=\"\(number(Self.left))\" y=\"\(number(middle - 6))\" "
            svg += "width=\"\(number(max(1.5, row.median / most * span)))\" height=\"12\" rx=\"2\"/>"
            svg += SVGPlot.marks(row.seconds, MedianInterval(row.seconds)?.range, middle) {
                Self.left + $0 / most * span
            }
            // Times stand below each other, ratios too: a bar is beside its name already.
            svg += text(Self.time(row.median), Self.width - 54, middle + 4.5, "", anchor: "end")
            if !isOwn {
                svg += text(
                    Format.fixed(row.median / own, 1) + "x", Self.width - Self.margin, middle + 4.5, "", anchor: "end")
            }
            return svg + "</g>\n"
        }.joined()
    }

    /// What a reader needs to know before he believes the bars.
    private var notes: [String] {
        let fact = { (name: String) in result.machine.first { $0.name == name }?.value }
        let runs = Set(groups.flatMap(\.rows).map(\.seconds.count)).sorted()
        let count = runs.count == 1 ? "\(runs[0])" : "\(runs.first ?? 0) to \(runs.last ?? 0)"
        let least = groups.flatMap(\.rows).compactMap { MedianInterval($0.seconds)?.confidence }.min()
        let interval = least.map { ", between the whiskers by \(Format.fixed($0 * 100, 0)) %" } ?? ""
        let figures =
            runs == [1]
            ? "One run each: no medians, no spread" : "Medians of \(count) runs (dots)\(interval); ratios to ldiff's"
        return [
            figures,
            [fact("processor"), fact("memory"), fact("kernel")].compactMap { $0 }.joined(separator: "; "),
            fact("input") ?? "",
        ].filter { !$0.isEmpty }
    }

    /// Three digits: more would say that the next run gives them again.
    private static func time(_ seconds: Double) -> String {
        let (value, unit) = seconds >= 0.0995 ? (seconds, "s") : (seconds * 1000, "ms")
        return Format.fixed(value, value >= 99.95 ? 0 : value >= 9.995 ? 1 : value >= 0.9995 ? 2 : 3) + " " + unit
    }

    private func text(_ text: String, _ x: Double, _ y: Double, _ style: String, anchor: String = "start") -> String {
        let kind = style.isEmpty ? "" : " class=\"\(style)\""
        let end = anchor == "start" ? "" : " text-anchor=\"\(anchor)\""
        return
            "<text\(kind) x=\"\(SVGPlot.number(x))\" y=\"\(SVGPlot.number(y))\"\(end)>\(SVGPlot.escaped(text))</text>\n"
    }

    private static let style = """

        text { font: 12.5px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1c2330; }
        .title, .own text { font-weight: 700; }
        .note { font-size: 11.5px; fill: #5b6577; }
        .paper { fill: #ffffff; } .own .bar { fill: #1f6feb; } .peer .bar { fill: #9aa5b8; }
        .whisker { stroke: #1c2330; stroke-width: 1.2; fill: none; }
        .dots { stroke: #1c2330; stroke-width: 4; stroke-linecap: round; stroke-opacity: 0.45; fill: none; }
        @media (prefers-color-scheme: dark) {
          text { fill: #e6eaf1; } .note { fill: #9aa5b8; } .paper { fill: #12161d; }
          .own .bar { fill: #5b9dff; } .peer .bar { fill: #667185; } .whisker, .dots { stroke: #e6eaf1; }
        }

        """
}
