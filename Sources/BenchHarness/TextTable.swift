/// Results as aligned text.
enum TextTable {
    /// One job's tables; the best of each is marked with `*`, and bold where the terminal can.
    static func lines(_ result: JobResult, processors: Int, colors: Bool) -> [String] {
        let bold = { (text: String) in colors ? "\u{1b}[1m\(text)\u{1b}[0m" : text }
        let conditions = "\(result.isCold ? "cold" : "warm"), in turn"
        var lines = [bold("\(result.job.rawValue)") + "  \(result.job.title) (\(conditions))"]
        if let note = result.note { lines.append("  note: " + note) }
        for group in result.groups { lines += table(group, processors, bold) }
        if let failure = result.failure { lines.append("  not measured: \(failure.description)") }
        return lines
    }

    static let headings = [
        "", "runs", "median", "min", "max", "spread", "x ldiff", "CPU s", "peak MiB", "output",
    ]

    private static func table(_ group: Group, _ processors: Int, _ bold: (String) -> String) -> [String] {
        var cells = [[group.title] + headings.dropFirst()]
        for row in group.rows { cells.append(Self.cells(row, in: group)) }
        let widths = (0..<headings.count).map { column in cells.map { $0.count > 2 ? $0[column].count : 0 }.max() ?? 0 }
        let first = cells.map { $0[0].count }.max() ?? 0
        var lines: [String] = []
        for (index, line) in cells.enumerated() {
            let isBest = index > 0 && group.best == index - 1
            var text = (isBest ? "* " : "  ") + line[0].padded(to: first)
            if line.count == 2 {
                text += "  " + line[1]
            } else {
                for column in 1..<line.count { text += "  " + line[column].padded(to: widths[column], left: true) }
            }
            lines.append(isBest ? bold(text) : text)
        }
        if let own = group.own, let floor = group.floor, floor.median > 0 {
            lines.append("  ldiff takes \(Format.fixed(own.median / floor.median, 2)) times the floor")
        }
        if let spending = group.spending(processors: processors) { lines.append("  " + spending.line) }
        if let difference = group.againstBaseline { lines.append("  " + against(difference)) }
        return lines + group.warnings.map { "  warning: " + $0 }
    }

    /// What became of ldiff since the other one that took part.
    static func against(_ difference: Difference) -> String {
        "against the baseline: \(Format.fixed(difference.ratio, 3)) times its time, \(difference.verdict) "
            + "(p \(Format.fixed(difference.test.probability, 3)))"
    }

    /// A row's cells under `headings`; name and reason only, where there are no figures.
    static func cells(_ row: Row, in group: Group) -> [String] {
        guard let series = row.series, !series.samples.isEmpty else {
            let reason = row.reason ?? "not run"
            if case .failed = row.outcome { return [row.name, "failed: \(reason)"] }
            return [row.name, reason]
        }
        let ratio = group.ratio(row)
        // Of a single run these would be the run again.
        let ends =
            series.hasSpread
            ? [
                Format.seconds(series.minimum), Format.seconds(series.maximum),
                Format.fixed(series.spread * 100, 0) + " %",
            ] : ["", "", ""]
        return [row.name, String(series.samples.count), Format.seconds(series.median)] + ends + [
            ratio.map { ($0.overlaps || $0.isNoisy ? "~" : "") + Format.fixed($0.value, 2) }
                ?? (row.role == .own ? "1" : ""),
            Format.fixed(series.processorSeconds, 2), Format.fixed(Double(series.peakKiB) / 1024, 1),
            row.outputBytes > 0 ? Format.bytes(row.outputBytes) : "",
        ]
    }
}

extension String {
    /// With spaces to a width, at the end or at the beginning.
    func padded(to width: Int, left: Bool = false) -> String {
        let space = String(repeating: " ", count: max(0, width - count))
        return left ? space + self : self + space
    }
}
