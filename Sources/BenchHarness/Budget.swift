import PlainJSON

/// Limits on what is counted: never on a time.
///
/// A JSON object of jobs, each with limits by name: `systemCallsPerEntry` (ldiff's own counters), `ringEntersPerEntry`,
/// `peakMiB`, `allocationsPer1000Entries` (with the allocation counter).
struct Budget {
    struct Limit: Sendable {
        var job: BenchJob
        var name: String
        var value: Double
    }

    var limits: [Limit]

    static let names = ["systemCallsPerEntry", "ringEntersPerEntry", "peakMiB", "allocationsPer1000Entries"]

    init(path: String) throws(BenchFailure) {
        guard let bytes = TextFile.bytes(path) else { throw BenchFailure(.noInput, "read the budget \(path)") }
        guard let value = JSONValue(parsing: bytes) else { throw BenchFailure(.usage, "\(path) is not JSON") }
        try self.init(value)
    }

    init(_ value: JSONValue) throws(BenchFailure) {
        limits = []
        for (name, members) in value.members {
            guard let job = BenchJob(rawValue: name) else { throw BenchFailure(.usage, "budget: no job \(name)") }
            for (what, limit) in members.members {
                guard Self.names.contains(what), let number = limit.number else {
                    throw BenchFailure(.usage, "budget: \(name) has no limit \(what)")
                }
                limits.append(Limit(job: job, name: what, value: number))
            }
        }
        if limits.isEmpty { throw BenchFailure(.usage, "the budget has no limits") }
    }

    /// Compares what the jobs counted; limits of jobs that did not run are left out.
    func check(_ result: BenchResult, _ options: BenchOptions, _ input: BenchInput) throws(BenchFailure) -> BudgetResult
    {
        var allocations: [BenchJob: Double] = [:]
        if let library = options.allocationCounter {
            for job in Set(limits.filter { $0.name == "allocationsPer1000Entries" }.map(\.job)) {
                allocations[job] = try AllocationCount.per1000Entries(job, input, library)
            }
        }
        return compare(result, allocations)
    }

    func compare(_ result: BenchResult, _ allocations: [BenchJob: Double]) -> BudgetResult {
        var found = BudgetResult()
        for limit in limits {
            guard let job = result.jobs.first(where: { $0.job == limit.job }) else { continue }
            let value = limit.name == "allocationsPer1000Entries" ? allocations[limit.job] : Self.count(limit.name, job)
            found.items.append(BudgetResult.Item(limit: limit, found: value))
        }
        return found
    }

    /// The largest of a job's groups.
    private static func count(_ name: String, _ job: JobResult) -> Double? {
        let counts = job.groups.compactMap { group -> Double? in
            guard let row = group.rows.first(where: { $0.role == .own }), let series = row.series, group.entries > 0
            else { return nil }
            if name == "peakMiB" { return Double(series.peakKiB) / 1024 }
            guard let counters = row.report?["io"] else { return nil }
            if name == "ringEntersPerEntry" { return counters["ringEnters"]?.number.map { $0 / Double(group.entries) } }
            let calls = ["opens", "stats", "directoryReads", "attributeCalls", "inlineReads", "creates", "ringEnters"]
            return calls.reduce(0.0) { $0 + (counters[$1]?.number ?? 0) } / Double(group.entries)
        }
        return counts.max()
    }
}

/// What a budget's comparison found.
struct BudgetResult: Sendable {
    struct Item: Sendable {
        var limit: Budget.Limit
        /// nil where it could not be counted.
        var found: Double?
        var isExceeded: Bool { found.map { $0 > limit.value } ?? false }
    }

    var items: [Item] = []

    var isExceeded: Bool { items.contains(where: \.isExceeded) }
    var uncounted: [Item] { items.filter { $0.found == nil } }

    var lines: [String] {
        ["budget"]
            + items.map { item in
                let name = "  \(item.limit.job.rawValue) \(item.limit.name)".padded(to: 44)
                guard let found = item.found else { return name + "not counted" }
                return name + Format.fixed(found, 2).padded(to: 10, left: true) + " of "
                    + Format.fixed(item.limit.value, 2) + (item.isExceeded ? "  EXCEEDED" : "")
            }
    }

    var json: JSONValue {
        .array(
            items.map { item in
                .object([
                    ("job", .string(item.limit.job.rawValue)), ("name", .string(item.limit.name)),
                    ("limit", .number(item.limit.value)), ("found", item.found.map { .number($0) } ?? .null),
                    ("exceeded", .bool(item.isExceeded)),
                ])
            })
    }
}
