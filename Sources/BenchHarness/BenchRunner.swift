import CBench
import Glibc
import LayerModel
import PlainJSON

/// `ldiff bench`: runs jobs, checks what they made, and reports.
package enum Bench {
    /// Does what `options` say; `version` is the program's own. Throws only where nothing could be measured or written.
    package static func run(
        _ options: BenchOptions, version: String, _ console: BenchConsole
    ) throws(BenchFailure) -> BenchOutcome {
        // Before any thread: mounts made from here on are seen by no other process and end with this one.
        if geteuid() == 0 { _ = cbench_private_mounts() }
        let unfinished = Unfinished(options)
        Cleanup.shared.watchSignals {
            console.status(nil, nil)
            TextFile.finishWriting()
            for line in unfinished.lines() { console.line(line) }
        }
        defer { Cleanup.shared.runAll() }
        for path in [options.jsonPath, options.htmlPath, options.picturePath].compactMap({ $0 }) {
            // Better now than after an hour.
            try TextFile.check(path)
        }
        if let baseline = options.baseline { try check(baseline: baseline) }
        // Before inputs are made: that is the harness's own work.
        let load = MachineLoad.now()
        let peers = Peers(program: BenchProbe.program)
        let input = try BenchInput(options.effectiveInput, peers: peers, console)
        var result = BenchResult(
            machine: Machine(
                version: version, input: input, peers: peers, target: options.target, load: load,
                command: Pipeline(CommandLine.arguments).description),
            input: input.description,
            isReference: input.isReference, loadWarning: load.warning)
        if let warning = load.warning { console.line(options.colors ? "\u{1b}[1;31m\(warning)\u{1b}[0m" : warning) }
        for (name, value) in result.machine.facts { console.line("\(name): \(value)") }
        let start = ContinuousClock.now
        let builder = ScenarioBuilder(
            input: input, peers: peers, chosen: options.peers, console: console, isQuick: options.quick,
            driver: options.driver, driverHome: options.driverHome, baseline: options.baseline, target: options.target)
        for job in options.effectiveJobs(peers) {
            let before = result
            var runner = JobRunner(job: job, options: options, console: console, start: start)
            // After every round, so that a run that is stopped leaves what it has, beside what an earlier one left.
            runner.keep = { found in
                var partial = before
                partial.jobs.append(found)
                unfinished.set(partial)
                try? write(partial, options, TextFile.writeUnfinished)
            }
            let found = runner.run(builder)
            console.line("")
            for line in TextTable.lines(found, processors: result.processors, colors: options.colors) {
                console.line(line)
            }
            result.jobs.append(found)
            unfinished.set(result, printed: result.jobs.count)
            try write(result, options, TextFile.writeUnfinished)
        }
        if let path = options.budgetPath {
            let budget = try Budget(path: path).check(result, options, input)
            result.budget = budget
            console.line("")
            for line in budget.lines { console.line(line) }
        }
        let outcome = result.outcome(asked: options.peers)
        // A run that failed replaces no earlier one.
        if outcome == .failed {
            try write(result, options, TextFile.writeUnfinished)
            for path in [options.jsonPath, options.htmlPath, options.picturePath].compactMap({ $0 })
            where TextFile.isReplaceable(path) {
                console.line("what was measured is in \(TextFile.unfinished(path)); \(path) is left as it was")
            }
        } else {
            try write(result, options, TextFile.write)
        }
        console.line("")
        for line in Words.lines { console.line(line) }
        if let line = CacheContents.line() { console.line(line) }
        let targets = result.targets
        if result.isReference, !targets.isEmpty {
            console.line("")
            console.line("targets (for two cores; times fail nothing)")
            for target in targets { console.line(target.line) }
        }
        return outcome
    }

    private static func write(
        _ result: BenchResult, _ options: BenchOptions, _ write: (String, String) throws(BenchFailure) -> Void
    ) throws(BenchFailure) {
        if let path = options.jsonPath { try write(result.json.prettyText + "\n", path) }
        if let path = options.htmlPath { try write(HTMLReport.page(result), path) }
        if let path = options.picturePath, let picture = FiguresPicture(result) { try write(picture.svg, path) }
    }

    /// Removes what runs left in the cache.
    package static func clean(_ console: BenchConsole) throws(BenchFailure) {
        try CacheContents.remove { console.line($0) }
    }

    /// Whether another ldiff can take part.
    private static func check(baseline: String) throws(BenchFailure) {
        guard access(baseline, X_OK) == 0, !TextFile.isDirectory(baseline) else {
            throw BenchFailure(.noInput, "run the baseline \(baseline): \(errorText(errno == 0 ? EISDIR : errno))")
        }
        _ = try Pipeline([baseline, "--version"]).run()
    }
}

/// Runs one job: a round in which everything is checked but not timed, then the timed rounds, all contenders in turn.
struct JobRunner {
    let job: BenchJob
    let options: BenchOptions
    let console: BenchConsole

    /// When the harness began.
    let start: ContinuousClock.Instant
    /// Gets what there is after every round.
    var keep: (JobResult) -> Void = { _ in }

    /// With `--quick`, who takes longer than this is timed once,
    private static let slowness = Duration.seconds(2)
    /// and after this time everybody is.
    private static let patience = Duration.seconds(75)
    private var isLate: Bool { options.quick && start.duration(to: .now) > Self.patience }

    private var isCold: Bool { options.cold || job.isAlwaysCold }

    func run(_ builder: ScenarioBuilder) -> JobResult {
        var result = JobResult(job: job, isCold: isCold, runs: options.effectiveRuns, groups: [])
        if isCold, let refusal = Caches.refusal {
            result.failure = BenchFailure(.unavailable, refusal)
            return result
        }
        if job == .latency {
            result.groups = runLatency(builder.latencyWithBaseline())
            return result
        }
        do throws(BenchFailure) {
            for scenario in try builder.scenarios(job) {
                let before = result
                let group = run(scenario) { group in
                    var partial = before
                    partial.groups.append(group)
                    keep(partial)
                }
                result.groups.append(group)
            }
        } catch {
            result.failure = error
        }
        if job.fillsTarget, !FreshTarget.makesFileSystems {
            result.note = "no root: unpacked into directories of \(FreshTarget.memory), owners not compared"
        }
        return result
    }

    private func run(_ scenario: Scenario, _ keep: (Group) -> Void) -> Group {
        var rows = scenario.contenders.map { contender in
            Row(
                role: contender.role, name: contender.name, command: contender.pipeline("TARGET").description,
                outcome: contender.missing.map { .unavailable($0) } ?? .measured(Series()))
        }
        let runs = (isLate ? 1 : options.effectiveRuns) * scenario.runFactor
        var slow: Set<Int> = []
        for round in 0...runs {
            for (index, contender) in scenario.contenders.enumerated() {
                guard case .measured(var series) = rows[index].outcome else { continue }
                if round > 1, slow.contains(index) { continue }
                var what = round == 0 ? "checking" : "run \(round) of \(runs)"
                if !series.samples.isEmpty { what += ", \(Format.seconds(series.median)) until now" }
                console.status("\(job.rawValue), \(scenario.title): \(contender.name), \(what)", nil)
                do throws(BenchFailure) {
                    if round == 0 {
                        let start = ContinuousClock.now
                        try check(contender, scenario, &rows[index])
                        if options.quick, start.duration(to: .now) > Self.slowness { slow.insert(index) }
                    } else {
                        series.samples.append(try time(contender, scenario, &rows[index]))
                        rows[index].outcome = .measured(series)
                        if round == 1 { tell(rows[index], scenario, of: slow.contains(index) ? 1 : runs) }
                    }
                } catch {
                    rows[index].outcome =
                        error.kind == .unavailable
                        ? .unavailable(error.description) : .failed(error.description)
                    tell(rows[index], scenario, of: runs)
                }
            }
            if round > 0 { keep(group(scenario, rows)) }
        }
        console.status(nil, nil)
        return group(scenario, rows)
    }

    private func group(_ scenario: Scenario, _ rows: [Row]) -> Group {
        Group(title: scenario.title, entries: scenario.entries, bytes: scenario.bytes, rows: rows)
    }

    /// What came of a contender, as soon as that is known.
    private func tell(_ row: Row, _ scenario: Scenario, of runs: Int) {
        let found =
            row.reason ?? row.series.map { Format.seconds($0.median) + (runs > 1 ? " (1 of \(runs) runs)" : "") } ?? ""
        console.line("\(job.rawValue), \(scenario.title): \(row.name): \(found)")
    }

    /// The round that is not timed. A layer is read back here; every timed run must then write as many bytes again.
    private func check(_ contender: Contender, _ scenario: Scenario, _ row: inout Row) throws(BenchFailure) {
        guard case .layer = contender.check else {
            _ = try time(contender, scenario, &row)
            if contender.role == .own, row.report == nil { row.report = try countedReport(contender) }
            return
        }
        let written = try BenchProbe.archive(of: contender.pipeline(""))
        if let difference = scenario.expected.difference(from: written) {
            throw BenchFailure(.wrongResult, "its layer has \(difference)")
        }
        row.outputBytes = written.streamBytes
    }

    /// What ldiff counts in a job whose output is for people, from a run of its own.
    private func countedReport(_ contender: Contender) throws(BenchFailure) -> JSONValue? {
        var pipeline = contender.pipeline("")
        pipeline.stages[pipeline.stages.count - 1].append("--json")
        let output = try pipeline.run(sink: .memory).output
        // A list of changes comes first, and may be long; only what follows it is wanted.
        let mark = Array("],\"entries\":".utf8)
        guard output.starts(with: "{\"changes\":[".utf8) else { return Self.report(in: output) }
        let ends = output.indices.suffix(64 << 10).last { output[$0...].starts(with: mark) }
        return ends.flatMap { JSONValue(parsing: [UInt8(ascii: "{")] + output[($0 + 2)...]) }
    }

    private func time(_ contender: Contender, _ scenario: Scenario, _ row: inout Row) throws(BenchFailure) -> Sample {
        var target: FreshTarget?
        if job.fillsTarget {
            let factor = scenario.targetFactor
            target = try FreshTarget(
                entries: scenario.entries * factor, bytes: scenario.bytes * factor, on: options.target)
        }
        let path = target?.path ?? ""
        for preparation in contender.prepare(path) { _ = try preparation.run() }
        if isCold { try Caches.drop() }
        var isLayer = false
        if case .layer = contender.check { isLayer = true }
        if case .nothing = contender.check { isLayer = true }
        let result = try contender.pipeline(path).run(sink: isLayer ? .null : .memory)
        if contender.role == .own, let report = Self.report(in: isLayer ? result.errors : result.output) {
            row.report = report
        }
        try verify(contender, scenario, row, result, contender.filled(path))
        return result.sample
    }

    /// Whether a run did its whole work.
    private func verify(
        _ contender: Contender, _ scenario: Scenario, _ row: Row, _ result: PipelineResult, _ filled: String
    ) throws(BenchFailure) {
        let text = { String(decoding: result.output, as: UTF8.self) }
        switch contender.check {
        case .nothing: return
        case .layer:
            // What a compressor makes varies a little with its threads' timing.
            if let written = result.sample.writtenBytes, written < row.outputBytes - row.outputBytes / 50 {
                throw BenchFailure(
                    .wrongResult,
                    "wrote \(written) bytes where the checked run wrote \(row.outputBytes)")
            }
        case .tree:
            let found = try BenchProbe.tree(filled)
            let comparesMetadata = FreshTarget.makesFileSystems
            if let difference = scenario.expected.difference(from: found, comparingMetadata: comparesMetadata) {
                throw BenchFailure(.wrongResult, "the tree has \(difference)")
            }
        case .number(let expected):
            let found = Self.numbers(text())
            if !found.contains(where: expected.contains) {
                throw BenchFailure(.wrongResult, "said \(text().prefix(60).trimmed), expected \(expected[0])")
            }
        case .atLeast(let expected):
            if !Self.numbers(text()).contains(where: { (expected...expected + expected / 10 + 4096).contains($0) }) {
                throw BenchFailure(
                    .wrongResult, "said \(text().prefix(60).trimmed), expected \(expected) or a little more")
            }
        case .lines(let expected):
            let lines = UInt64(result.output.count { $0 == UInt8(ascii: "\n") })
            if lines + 1 < expected || lines > expected + 1 {
                throw BenchFailure(.wrongResult, "listed \(lines) changes, expected \(expected)")
            }
        case .mentions(let paths):
            let text = text()
            let lines = text.split(separator: "\n").count
            if let missing = paths.first(where: { !text.contains($0) }) {
                throw BenchFailure(.wrongResult, "does not mention \(missing)")
            }
            if lines > 50 { throw BenchFailure(.wrongResult, "listed \(lines) changes, expected about five") }
        }
    }

    private static func numbers(_ text: String) -> [UInt64] {
        text.split(whereSeparator: \.isWhitespace).compactMap { UInt64($0) }
    }

    /// The JSON object among what ldiff said.
    private static func report(in bytes: [UInt8]) -> JSONValue? {
        bytes.split(separator: UInt8(ascii: "\n")).lazy.filter { $0.first == UInt8(ascii: "{") }
            .compactMap { JSONValue(parsing: $0) }.first
    }
}
