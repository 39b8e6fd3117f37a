/// Where the time of a job went, and how the ring was used.
struct Spending: Sendable, Equatable {
    /// Parts of the time that all processors together had from the start of a run to its end: ldiff's own code, the kernel
    /// for it, and neither. All that other programs of the machine did counts as waiting.
    var own: Double
    var kernel: Double
    var waiting: Double
    var processors: Int
    /// What the kernel was given through rings, and calls that this took; nil where no report counts them.
    var ring: (submissions: Double, enters: Double)?
    /// Names looked up through the ring.
    var batchedStats: Double = 0

    static func == (first: Spending, second: Spending) -> Bool { first.line == second.line }

    /// nil without runs.
    init?(_ series: Series, processors: Int, report: JSONValue?) {
        guard !series.samples.isEmpty, series.median > 0, processors > 0 else { return nil }
        let all = series.median * Double(processors)
        own = min(1, series.userSeconds / all)
        kernel = min(1 - own, series.systemSeconds / all)
        waiting = max(0, 1 - own - kernel)
        self.processors = processors
        guard let counters = report?["io"], let submissions = counters["ringSubmissions"]?.number,
            let enters = counters["ringEnters"]?.number
        else { return }
        ring = (submissions, enters)
        batchedStats = counters["batchedStats"]?.number ?? 0
    }

    /// For people.
    var line: String {
        let percent = { (part: Double) in Format.fixed(part * 100, 0) + " %" }
        var text = "time of ldiff's, of \(processors) processors: \(percent(own)) own code, \(percent(kernel)) kernel, "
        text += "\(percent(waiting)) waiting"
        guard let ring else { return text }
        guard ring.submissions > 0 else { return text + "; ring: not used" }
        let count = { (number: Double) in Format.count(UInt64(max(0, number))) }
        text += "; ring: \(count(ring.submissions)) operations in \(count(ring.enters)) calls"
        return batchedStats > 0 ? text + ", \(count(batchedStats)) of them looks" : text
    }

    var json: JSONValue {
        let rounded = { (value: Double) in JSONValue.number((value * 1000).rounded() / 1000) }
        var members: [(String, JSONValue)] = [
            ("processors", .number(Double(processors))), ("own", rounded(own)), ("kernel", rounded(kernel)),
            ("waiting", rounded(waiting)),
        ]
        if let ring {
            members.append(("ringSubmissions", .number(ring.submissions)))
            members.append(("ringEnters", .number(ring.enters)))
            members.append(("batchedStats", .number(batchedStats)))
        }
        return .object(members)
    }
}
