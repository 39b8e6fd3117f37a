import LinuxIO
import PlainJSON

/// What came of one contender.
struct Row: Sendable {
    enum Outcome: Sendable, Equatable {
        case measured(Series)
        /// It could not take part: not installed, no right, no space.
        case unavailable(String)
        /// It failed, or what it made is wrong.
        case failed(String)
    }

    var role: Contender.Role
    var name: String
    var command: String
    var outcome: Outcome
    /// Bytes of the layer that it wrote; 0 where the job writes none.
    var outputBytes: UInt64 = 0
    /// ldiff's own report of its last run.
    var report: JSONValue?

    var series: Series? { if case .measured(let series) = outcome { series } else { nil } }
    /// Why there are no figures.
    var reason: String? {
        switch outcome {
        case .measured: nil
        case .unavailable(let text), .failed(let text): text
        }
    }
    var isFloor: Bool { role == .floor }
}

/// What came of a job on one input.
struct Group: Sendable {
    var title: String
    var entries: UInt64
    var bytes: UInt64
    var rows: [Row]

    var own: Series? { rows.first { $0.role == .own }?.series }
    /// Where ldiff's time went.
    func spending(processors: Int) -> Spending? {
        guard let row = rows.first(where: { $0.role == .own }), let series = row.series else { return nil }
        return Spending(series, processors: processors, report: row.report)
    }
    /// Whether this ldiff differs from the other one that took part; nil where none did.
    var againstBaseline: Difference? {
        guard let own, let baseline = rows.first(where: { $0.role == .baseline })?.series else { return nil }
        return Difference(from: baseline.samples.map(\.seconds), to: own.samples.map(\.seconds))
    }
    var floor: Series? { rows.first { $0.isFloor }?.series }
    /// The row with the least median, floors aside; nil where it or the next one ran only once: that proves nothing.
    var best: Int? {
        let order = rows.indices.filter { index in
            rows[index].role != .baseline && !rows[index].isFloor && rows[index].series?.samples.isEmpty == false
        }.sorted { (rows[$0].series?.median ?? 0) < (rows[$1].series?.median ?? 0) }
        return order.prefix(2).allSatisfy { rows[$0].series?.hasSpread == true } ? order.first : nil
    }

    /// nil for the row itself and where there are no figures.
    func ratio(_ row: Row) -> Ratio? {
        guard row.role != .own, let series = row.series, let own else { return nil }
        return Ratio(of: series, to: own)
    }

    /// What a reader should know before believing the figures.
    var warnings: [String] {
        rows.compactMap { row in
            // The other ldiff is judged by a test of its own.
            guard let ratio = ratio(row), !row.isFloor, row.role != .baseline, ratio.overlaps || ratio.isNoisy else {
                return nil
            }
            if ratio.runs < Ratio.fewest { return "\(row.name): too few runs for a ratio (\(ratio.runs))" }
            let range = Format.fixed(ratio.range.lowerBound, 2) + " to " + Format.fixed(ratio.range.upperBound, 2)
            let doubt = ratio.overlaps ? "which of the two is faster is not proven" : "the ratio is uncertain"
            return "\(row.name): runs vary, \(doubt) (\(range))"
        }
    }
}

/// What came of a job.
struct JobResult: Sendable {
    var job: BenchJob
    var isCold: Bool
    /// Timed runs asked for of each; a row may have fewer.
    var runs: Int
    var groups: [Group]
    /// Why it did not run at all.
    var failure: BenchFailure?
    var note: String?
}

/// Everything that a run of the harness found.
struct BenchResult: Sendable {
    var machine: Machine
    var input: String
    /// How many processors ldiff takes.
    var processors = WorkerPool.availableCores
    /// Whether the input is the tree for which the targets are meant.
    var isReference = false
    var jobs: [JobResult] = []
    /// What else the machine did when it began, where that spoils the figures.
    var loadWarning: String?
    var budget: BudgetResult?

    func outcome(asked: [PeerName]?) -> BenchOutcome {
        var outcome = BenchOutcome.done
        if let budget {
            if budget.isExceeded { return .failed }
            if !budget.uncounted.isEmpty { outcome = .incomplete }
        }
        for job in jobs {
            if let failure = job.failure {
                if failure.kind == .wrongResult { return .failed }
                outcome = .incomplete
            }
            for row in job.groups.flatMap(\.rows) {
                switch row.outcome {
                case .measured: continue
                case .failed:
                    if row.role == .own || row.role == .driver || row.role == .baseline { return .failed }
                    outcome = .incomplete
                case .unavailable:
                    // A peer that nobody asked for may be missing.
                    if case .peer(let peer) = row.role, asked?.contains(peer) != true { continue }
                    outcome = .incomplete
                }
            }
        }
        return outcome
    }
}
