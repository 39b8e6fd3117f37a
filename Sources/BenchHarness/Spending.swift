import PlainJSON

/// Where the time of a job went, and how the ring was used.
struct Spending: Sendable, Equatable {
    /// Parts of the time that all processors together had from the start of a run to its end: ldiff's own code, and the
    /// kernel for it.
    var own: Double
    var kernel: Double
    /// What other programs had, and the kernel's own threads, which write to disks; part of `idle` where that is not told.
    var others: Double?
    var idle: Double
    var processors: Int
    /// What the kernel was given through rings, and calls that this took; nil where no report counts them.
    var ring: (submissions: Double, enters: Double)?
    /// Names looked up through the ring.
    var batchedStats: Double = 0

    static func == (first: Spending, second: Spending) -> Bool { first.line == second.line }

    /// nil without runs.
    init?(_ series: Series, processors: Int, report: JSONValue?) {
        guard !series.samples.isEmpty, series.median > 0, processors > 0, series.peakKiB > 0 else { return nil }
        let all = series.median * Double(processors)
        own = min(1, series.userSeconds / all)
        kernel = min(1 - own, series.systemSeconds / all)
        idle = max(0, 1 - own - kernel)
        if let seconds = series.idleSeconds, processors == Machine.processors {
            let others = max(0, idle - max(0, seconds / all))
            idle -= others
            self.others = others
        }
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
        if let others { text += "\(percent(others)) others, " }
        text += "\(percent(idle)) idle"
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
            ("others", others.map(rounded) ?? .null), ("idle", rounded(idle)),
        ]
        if let ring {
            members.append(("ringSubmissions", .number(ring.submissions)))
            members.append(("ringEnters", .number(ring.enters)))
            members.append(("batchedStats", .number(batchedStats)))
        }
        return .object(members)
    }
}
