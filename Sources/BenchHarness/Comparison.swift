import PlainJSON

/// Two results of the harness side by side: the same machine or another, the same ldiff or another.
package struct BenchComparison {
    private let before: StoredResult
    private let after: StoredResult

    /// Reads two files that `--json` wrote.
    package init(_ before: String, _ after: String) throws(BenchFailure) {
        self.before = try StoredResult(path: before)
        self.after = try StoredResult(path: after)
    }

    init(_ before: StoredResult, _ after: StoredResult) {
        self.before = before
        self.after = after
    }

    /// One program in one job on one input, in both.
    struct Line {
        var job: String
        var title: String
        var row: StoredResult.Row
        var old: StoredResult.Row
        var difference: Difference
        /// What the same peers did meanwhile: the machine's own share. nil where none is in both, and for peers.
        var peers: Double?
    }

    var lines: [Line] {
        var lines: [Line] = []
        for group in after.groups {
            guard let old = before.groups.first(where: { $0.job == group.job && $0.title == group.title }) else {
                continue
            }
            let pairs = group.rows.compactMap { row -> (StoredResult.Row, StoredResult.Row, Difference)? in
                guard let was = old.rows.first(where: { $0.name == row.name && $0.role == row.role }),
                    let difference = Difference(from: was.seconds, to: row.seconds)
                else { return nil }
                return (row, was, difference)
            }
            let peers = median(pairs.filter { $0.0.role == "peer" || $0.0.role == "floor" }.map(\.2.ratio))
            lines += pairs.map { row, was, difference in
                Line(
                    job: group.job, title: group.title, row: row, old: was, difference: difference,
                    peers: row.role == "peer" || row.role == "floor" ? nil : peers)
            }
        }
        return lines
    }

    /// What a reader should know before believing the figures.
    var warnings: [String] {
        var warnings: [String] = []
        for (name, value) in before.machine {
            guard !Self.passing.contains(name), let now = after.machine.first(where: { $0.name == name })?.value,
                now != value
            else { continue }
            warnings.append("\(name): \(value), then \(now)")
        }
        let missing = { (from: StoredResult, other: StoredResult) in
            from.groups.filter { group in
                !other.groups.contains { $0.job == group.job && $0.title == group.title }
            }.map { $0.job + ", " + $0.title }
        }
        for name in missing(before, after) { warnings.append("only before: \(name)") }
        for name in missing(after, before) { warnings.append("only after: \(name)") }
        return warnings
    }

    /// Facts that differ between any two runs.
    private static let passing: Set = ["load before", "least memory that shows"]

    /// The comparison as aligned text.
    package var text: [String] {
        let lines = lines
        guard !lines.isEmpty else { return ["nothing was measured in both"] + warnings.map { "warning: " + $0 } }
        var cells = [["job", "input", "program", "before", "after", "ratio", "beside peers", "spread", "p", ""]]
        for line in lines {
            let spread = line.difference.spread
            cells.append([
                line.job, line.title, line.row.name, Format.seconds(line.old.median), Format.seconds(line.row.median),
                Format.fixed(line.difference.ratio, 3),
                line.peers.map { $0 > 0 ? Format.fixed(line.difference.ratio / $0, 3) : "" } ?? "",
                "\(Format.fixed(spread.before * 100, 0)), \(Format.fixed(spread.after * 100, 0)) %",
                Format.fixed(line.difference.test.probability, 3), line.difference.verdict,
            ])
        }
        let widths = cells[0].indices.map { column in cells.map { $0[column].count }.max() ?? 0 }
        let table = cells.map { line in
            line.indices.map { line[$0].padded(to: widths[$0], left: (3...8).contains($0)) }.joined(separator: "  ")
                .trimmedEnd
        }
        let explanation = [
            "",
            "ratio: after in parts of before, of medians; beside peers: the same, with what the programs that are the same did meanwhile "
                + "taken off.",
            "p: how likely runs of one program fall apart so far by chance; below \(Format.plain(RankTest.threshold)) it counts.",
        ]
        return table + explanation + warnings.map { "warning: " + $0 }
    }

    /// Writes the comparison as JSON: `{"format": 2, "lines": [...], "warnings": [...]}`.
    package func write(to path: String) throws(BenchFailure) { try TextFile.write(json, to: path) }

    var json: String {
        let lines = lines.map { line -> JSONValue in
            var members: [(String, JSONValue)] = [
                ("job", .string(line.job)), ("input", .string(line.title)), ("program", .string(line.row.name)),
                ("role", .string(line.row.role)), ("beforeSeconds", .number(line.old.median)),
                ("afterSeconds", .number(line.row.median)),
            ]
            members += line.difference.json.members
            if let peers = line.peers { members.append(("peersRatio", .number((peers * 10_000).rounded() / 10_000))) }
            return .object(members)
        }
        return JSONValue.object([
            ("format", .number(2)), ("lines", .array(lines)), ("warnings", .array(warnings.map { .string($0) })),
        ]).prettyText + "\n"
    }
}

/// What a run of the harness wrote as JSON, as far as a comparison reads it.
struct StoredResult {
    struct Row {
        var name: String
        var role: String
        var seconds: [Double]
        var median: Double { BenchHarness.median(seconds) ?? 0 }
    }
    struct Group {
        var job: String
        var title: String
        var rows: [Row]
    }

    var machine: [(name: String, value: String)]
    var groups: [Group]

    init(path: String) throws(BenchFailure) {
        guard let bytes = TextFile.bytes(path) else { throw BenchFailure(.noInput, "read \(path)") }
        guard let value = JSONValue(parsing: bytes) else { throw BenchFailure(.usage, "\(path) is not JSON") }
        guard let result = StoredResult(value) else {
            throw BenchFailure(.usage, "\(path) is no result of ldiff bench --json")
        }
        self = result
    }

    init?(_ value: JSONValue) {
        // Format 1 had the machine's facts as members; all else that is read here has the same names in both.
        guard let format = value["format"]?.number, [1, 2].contains(format), let jobs = value["jobs"]?.elements else {
            return nil
        }
        machine = value["machine"]?.members.compactMap { name, value in value.string.map { (name, $0) } } ?? []
        machine += (value["machine"]?.elements ?? []).compactMap { fact in
            fact["name"]?.string.flatMap { name in fact["value"]?.string.map { (name, $0) } }
        }
        groups = jobs.flatMap { job -> [Group] in
            let cold = job["cold"] == .bool(true) && !(job["job"]?.string ?? "").hasSuffix("-cold") ? ", cold" : ""
            return (job["groups"]?.elements ?? []).compactMap { group -> Group? in
                guard let name = job["job"]?.string, let title = group["title"]?.string else { return nil }
                return Group(
                    job: name + cold, title: title,
                    rows: (group["rows"]?.elements ?? []).compactMap { row -> Row? in
                        guard let name = row["name"]?.string, let role = row["role"]?.string,
                            let seconds = row["seconds"]?.elements.compactMap(\.number), !seconds.isEmpty
                        else { return nil }
                        return Row(name: name, role: role, seconds: seconds)
                    })
            }
        }
    }
}

extension String {
    fileprivate var trimmedEnd: String {
        var text = self
        while text.last == " " { text.removeLast() }
        return text
    }
}
