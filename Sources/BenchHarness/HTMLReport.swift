/// Results as one page that needs nothing else: style and plots are inside, there is no script.
enum HTMLReport {
    static func page(_ result: BenchResult) -> String {
        var page = """
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta name="color-scheme" content="light dark">
            <title>ldiff bench: \(escaped(result.input))</title>
            <style>\(HTMLStyle.text)</style>
            </head>
            <body>
            <main>
            <h1>ldiff bench</h1>
            \(busy(result))<p class="lead">\(escaped(result.input)). Times are medians of runs that took turns; a dot is a run, \
            a whisker where the true median lies. Every run's result was checked.</p>
            <nav>

            """
        for job in result.jobs { page += "<a href=\"#\(job.job.rawValue)\">\(job.job.rawValue)</a>\n" }
        page +=
            "<a href=\"#memory\">memory</a>\n<a href=\"#words\">words</a>\n<a href=\"#machine\">machine</a>\n</nav>\n"
        page += overview(result) + targets(result)
        for job in result.jobs { page += section(job, processors: result.processors) }
        page += memory(result) + budget(result) + words + machine(result)
        return page + "</main>\n</body>\n</html>\n"
    }

    static func escaped(_ text: String) -> String { SVGPlot.escaped(text) }

    // MARK: - Parts

    private static func busy(_ result: BenchResult) -> String {
        result.loadWarning.map { "<p class=\"busy\">\(escaped($0))</p>\n" } ?? ""
    }

    /// Each word once.
    private static var words: String {
        let list = (Words.all.map { ($0.word, $0.meaning) } + Words.plots).map { word, meaning in
            "<dt>\(escaped(word))</dt><dd>\(escaped(meaning))</dd>\n"
        }
        return "<section>\n<h2 id=\"words\">words</h2>\n<dl>\n\(list.joined())</dl>\n</section>\n"
    }

    /// What was run, to be run again.
    private static func commands(_ group: Group) -> String {
        let list = group.rows.filter { $0.series != nil }.map { row in
            "<dt>\(escaped(row.name))</dt><dd><code>\(escaped(row.command))</code></dd>\n"
        }
        return list.isEmpty ? "" : "<details><summary>commands</summary>\n<dl>\n\(list.joined())</dl></details>\n"
    }

    /// What is asked of ldiff, and what came of it.
    private static func targets(_ result: BenchResult) -> String {
        guard result.isReference, !result.targets.isEmpty else { return "" }
        var rows = ""
        for target in result.targets {
            rows += "<tr><th scope=\"row\">\(target.id)</th><td>\(target.state.rawValue)</td>"
            rows += "<td>\(escaped(target.details))</td></tr>\n"
        }
        return """
            <h2 id="targets">Targets</h2>
            <p>Meant for this input on two cores; times fail nothing.</p>
            <div class="scroll"><table><tbody>
            \(rows)</tbody></table></div>

            """
    }

    /// How many times faster than each peer, job by job.
    private static func overview(_ result: BenchResult) -> String {
        var rows = ""
        for job in result.jobs {
            for group in job.groups where job.job != .scale {
                guard let own = group.own, !own.samples.isEmpty else { continue }
                let peers = group.rows.filter { $0.role != .own && !$0.isFloor }.compactMap { row -> String? in
                    guard let ratio = group.ratio(row) else { return nil }
                    let doubt = ratio.overlaps || ratio.isNoisy ? "~" : ""
                    return "\(escaped(row.name)) <b>\(doubt)\(Format.fixed(ratio.value, 1))×</b>"
                }
                let floor = group.floor.map { $0.median > 0 ? Format.fixed(own.median / $0.median, 2) + "×" : "" } ?? ""
                rows += "<tr><th scope=\"row\"><a href=\"#\(job.job.rawValue)\">\(job.job.rawValue)</a></th>"
                rows += "<td class=\"n\">\(Format.seconds(own.median))</td><td>\(peers.joined(separator: ", "))</td>"
                rows += "<td class=\"n\">\(floor)</td></tr>\n"
            }
        }
        guard !rows.isEmpty else { return "" }
        return """
            <h2 id="overview">Overview</h2>
            <div class="scroll"><table>
            <thead><tr><th scope="col">job</th><th scope="col" class="n">ldiff</th>\
            <th scope="col">time of others, in ldiff's</th><th scope="col" class="n">ldiff in floors</th></tr></thead>
            <tbody>
            \(rows)</tbody></table></div>

            """
    }

    private static func section(_ result: JobResult, processors: Int) -> String {
        let conditions = result.isCold ? "Cold caches." : "Warm."
        var html = "<section>\n<h2 id=\"\(result.job.rawValue)\">\(result.job.rawValue)</h2>\n"
        html += "<p>\(escaped(result.job.title)). \(conditions)</p>\n"
        if let note = result.note { html += "<p class=\"note\">\(escaped(note))</p>\n" }
        if result.job == .scale { html += growth(result) }
        for group in result.groups {
            if result.groups.count > 1 { html += "<h3>\(escaped(group.title))</h3>\n" }
            html += bars(group, title: result.job.rawValue) + table(group) + commands(group)
            if let spending = group.spending(processors: processors) { html += "<p>\(escaped(spending.line))</p>\n" }
            if let difference = group.againstBaseline {
                html += "<p>\(escaped(TextTable.against(difference)))</p>\n"
            }
            for warning in group.warnings { html += "<p class=\"warning\">\(escaped(warning))</p>\n" }
        }
        if let failure = result.failure {
            html += "<p class=\"warning\">Not measured: \(escaped(failure.description))</p>\n"
        }
        return html + "</section>\n"
    }

    private static func style(_ row: Row) -> String {
        switch row.role {
        case .own, .baseline: "own"
        case .peer, .driver: "peer"
        case .floor: "floor"
        }
    }

    private static func bars(_ group: Group, title: String) -> String {
        let bars = group.rows.compactMap { row -> SVGPlot.Bar? in
            guard let series = row.series, !series.samples.isEmpty else { return nil }
            let ratio = group.ratio(row).map { " · \(Format.fixed($0.value, 2))×" } ?? ""
            return SVGPlot.Bar(
                label: row.name, value: series.median, runs: series.samples.map(\.seconds),
                interval: series.interval?.range, text: Format.seconds(series.median) + ratio, style: style(row))
        }
        return SVGPlot.bars(bars, title: "Seconds of \(title), \(group.title)")
    }

    private static func table(_ group: Group) -> String {
        var html = "<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">\(escaped(group.title))</th>"
        for heading in TextTable.headings.dropFirst() { html += "<th scope=\"col\" class=\"n\">\(heading)</th>" }
        html += "</tr></thead>\n<tbody>\n"
        for (index, row) in group.rows.enumerated() {
            let cells = TextTable.cells(row, in: group)
            html += "<tr class=\"\(style(row))\(group.best == index ? " best" : "")\">"
            html += "<th scope=\"row\" title=\"\(escaped(row.command))\">\(escaped(cells[0]))</th>"
            if cells.count == 2 {
                html += "<td class=\"reason\" colspan=\"\(TextTable.headings.count - 1)\">\(escaped(cells[1]))</td>"
            } else {
                for cell in cells.dropFirst() { html += "<td class=\"n\">\(escaped(cell))</td>" }
            }
            html += "</tr>\n"
        }
        return html + "</tbody></table></div>\n"
    }

    /// Entries a second, and memory, against the number of entries.
    private static func growth(_ result: JobResult) -> String {
        var names: [String] = []
        for row in result.groups.flatMap(\.rows) where !names.contains(row.name) { names.append(row.name) }
        let lines = { (value: (Group, Series) -> Double) in
            names.enumerated().map { index, name in
                let points = result.groups.compactMap { group -> (x: Double, y: Double)? in
                    guard let series = group.rows.first(where: { $0.name == name })?.series, !series.samples.isEmpty
                    else { return nil }
                    return (Double(group.entries), value(group, series))
                }
                return SVGPlot.Line(label: name, points: points, style: index % 8)
            }.filter { !$0.points.isEmpty }
        }
        let throughput = lines { group, series in series.median > 0 ? Double(group.entries) / series.median : 0 }
        let memory = lines { _, series in Double(series.peakKiB) / 1024 }
        return SVGPlot.lines(
            throughput, title: "Entries a second against entries", xTitle: "entries", yTitle: "entries a second",
            yText: { Format.count(UInt64($0)) })
            + SVGPlot.lines(
                memory, title: "Peak memory against entries", xTitle: "entries", yTitle: "peak memory, MiB",
                yText: { $0 < 10 ? Format.fixed($0, 0) : Format.count(UInt64($0)) })
    }

    private static func memory(_ result: BenchResult) -> String {
        var html = "<section>\n<h2 id=\"memory\">memory</h2>\n"
        html += "<p>The largest resident size of one process, all runs.</p>\n"
        for job in result.jobs where job.job != .scale {
            for group in job.groups {
                let bars = group.rows.compactMap { row -> SVGPlot.Bar? in
                    guard !row.isFloor, let series = row.series, !series.samples.isEmpty else { return nil }
                    let peak = Double(series.peakKiB) / 1024
                    return SVGPlot.Bar(
                        label: row.name, value: peak, text: Format.fixed(peak, 1) + " MiB",
                        style: style(row))
                }
                guard !bars.isEmpty else { continue }
                html +=
                    "<h3>\(job.job.rawValue)</h3>\n" + SVGPlot.bars(bars, title: "Peak memory of \(job.job.rawValue)")
            }
        }
        return html + "</section>\n"
    }

    private static func budget(_ result: BenchResult) -> String {
        guard let budget = result.budget else { return "" }
        var html = "<section>\n<h2 id=\"budget\">budget</h2>\n<div class=\"scroll\"><table>\n<tbody>\n"
        for item in budget.items {
            let found = item.found.map { Format.fixed($0, 2) } ?? "not counted"
            html +=
                "<tr\(item.isExceeded ? " class=\"exceeded\"" : "")><th scope=\"row\">\(item.limit.job.rawValue) \(item.limit.name)</th>"
            html += "<td class=\"n\">\(found)</td><td class=\"n\">of \(Format.fixed(item.limit.value, 2))</td></tr>\n"
        }
        return html + "</tbody></table></div>\n</section>\n"
    }

    private static func machine(_ result: BenchResult) -> String {
        var html = "<section>\n<h2 id=\"machine\">machine</h2>\n<div class=\"scroll\"><table>\n<tbody>\n"
        for (name, value) in result.machine.facts {
            html += "<tr><th scope=\"row\">\(escaped(name))</th><td>\(escaped(value))</td></tr>\n"
        }
        return html + "</tbody></table></div>\n</section>\n"
    }
}
