import ArgumentParser
import BenchHarness
import Glibc
import LayerModel
import PlainJSON

/// `ldiff bench`: measures ldiff beside other programs.
struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measures every job beside the peers that are found on this machine.",
        discussion: """
            JOBs: \(BenchJob.allCases.map(\.rawValue).joined(separator: ", ")); all if none is named, with --quick fewer.
            Recipes for --input: \(Recipe.allCases.map(\.rawValue).joined(separator: ", ")); made once, in \
            $LDIFF_CACHE, $XDG_CACHE_HOME/ldiff or ~/.cache/ldiff. Without --input: linux-source, with --quick synthetic.
            Peers: \(PeerName.allCases.map(\.rawValue).joined(separator: ", ")); found on PATH or in perf/peers/bin.

            Contenders run as whole processes, in turn, and what they made is checked. With root, layers are unpacked \
            into a fresh ext4 in memory for each run. A floor is a probe that does only the system calls that cannot \
            be avoided. Only ratios of one run count: times of a shared machine come and go. A run that is stopped prints \
            the table that it has, and leaves FILE.unfinished for --json and --report.

            EXIT STATUS: 0 done, 65 ldiff failed or exceeded the budget, 69 something asked for could not be measured.

            EXAMPLES:
              ldiff bench --quick
              ldiff bench diff apply --input /srv/rootfs --runs 9 --report bench.html
              ldiff bench diff --against tar,bsdtar --cold --json bench.json
              ldiff bench --driver overlay2
              ldiff bench apply copy-within --target xfs
              ldiff bench diff --runs 15 --baseline /usr/bin/ldiff
              ldiff bench --compare before.json after.json
              ldiff bench diff apply --picture figures.svg --from bench.json
              ldiff bench --clean
            """)

    @Argument(help: "What to measure.")
    var job: [BenchJob] = []

    @Option(
        help: ArgumentHelp("What is measured on: a directory, an archive, or a recipe.", valueName: "dir|tar|recipe"))
    var input: String?

    @Option(
        help: ArgumentHelp(
            "The peers that take part, separated by commas; all that are found if not given.", valueName: "peer,..."))
    var against: PeerList?

    @Option(help: ArgumentHelp("Timed runs of each contender: 5, with --quick 3 if not given.", valueName: "n"))
    var runs: Int?

    @Option(
        help: ArgumentHelp(
            "Measure diff, changes, size and apply through a driver, beside the engine alone (root).",
            valueName: "driver"))
    var driver: DriverName?

    @Option(help: ArgumentHelp("Where the driver's store is made; in the cache if not given.", valueName: "dir"))
    var driverHome: String?

    @Option(
        help: ArgumentHelp("Another ldiff, which takes part in every job: the version before.", valueName: "program"))
    var baseline: String?

    @Option(
        help: ArgumentHelp(
            "What new trees go to, made anew in memory for each run (root).",
            valueName: "file system"))
    var target: TargetFileSystem = .ext4

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp(
            "Measure nothing: compare two files that --json wrote, and say which differences are noise.",
            valueName: "before.json after.json"))
    var compare: [String] = []

    @Flag(help: "Drop the caches before every run (root).")
    var cold = false

    @Option(name: .customLong("json"), help: ArgumentHelp("Write every figure to a file as JSON.", valueName: "file"))
    var jsonFile: String?

    @Option(help: ArgumentHelp("Write a report with plots.", valueName: "file.html"))
    var report: String?

    @Option(help: ArgumentHelp("Draw bars, for light and dark screens.", valueName: "file.svg"))
    var picture: String?

    @Option(
        help: ArgumentHelp(
            "Measure nothing: --picture draws what --json wrote, the named jobs or all.", valueName: "bench.json"))
    var from: String?

    @Flag(help: "Measure nothing: remove the inputs that runs left in the cache, and what was made of them.")
    var clean = false

    @Flag(help: "A small input and few runs: under two minutes.")
    var quick = false

    @Option(
        help: ArgumentHelp("Fail if what ldiff counts (calls, memory) exceeds the limits in a file.", valueName: "file")
    )
    var budget: String?

    @Option(help: ArgumentHelp("The library that counts allocations for the budget.", valueName: "file.so"))
    var allocationCounter: String?

    @Option(
        help: ArgumentHelp(
            "A line on standard error that says what runs; json: an object a line, for programs.", valueName: "when"))
    var progress: ProgressMode = .auto

    func validate() throws {
        if let runs, !(1...1000).contains(runs) { throw ValidationError("--runs takes a number from 1 to 1000") }
        if driver != nil, let other = job.first(where: { !BenchJob.ofDrivers.contains($0) }) {
            throw ValidationError("\(other.rawValue) is not done by drivers")
        }
        if driver == nil, driverHome != nil { throw ValidationError("--driver-home needs --driver") }
        if clean {
            guard job.isEmpty, input == nil, against == nil, runs == nil, driver == nil, baseline == nil, budget == nil,
                report == nil, picture == nil, from == nil, jsonFile == nil, compare.isEmpty, !cold, !quick
            else { throw ValidationError("--clean measures nothing, and takes nothing else") }
        }
        if !compare.isEmpty {
            guard compare.count == 2 else { throw ValidationError("--compare takes two files, before and after") }
            guard job.isEmpty, input == nil, against == nil, runs == nil, driver == nil, baseline == nil, budget == nil,
                report == nil, picture == nil, from == nil, !cold, !quick
            else { throw ValidationError("--compare measures nothing, and takes only --json") }
        }
        if from != nil {
            guard picture != nil, input == nil, against == nil, runs == nil, driver == nil, baseline == nil,
                budget == nil,
                report == nil, jsonFile == nil, !cold, !quick
            else { throw ValidationError("--from measures nothing, and takes only jobs and --picture") }
        }
        let paths = [input, jsonFile, report, picture, from, budget, allocationCounter, driverHome, baseline]
            .compactMap { $0 }
        for path in paths + compare {
            guard !path.isEmpty, String(validating: RawArguments.bytes(path), as: UTF8.self) == path else {
                throw ValidationError("bench takes only paths that are UTF-8 and not empty")
            }
        }
    }

    func run() throws {
        if clean {
            do { return try Bench.clean(console()) } catch { throw error.layerError("bench") }
        }
        if compare.count == 2 { return try printComparison() }
        // What is read is replaced by no output either.
        for path in compare + [from, jsonFile, report, picture].compactMap({ $0 }) {
            try OutputPlace.take(PathBytes(path))
        }
        if let from, let picture { return try draw(from, picture) }
        var options = BenchOptions()
        options.baseline = baseline
        options.target = target
        options.driver = driver?.rawValue
        options.driverHome = driverHome
        options.jobs = job
        options.input = input
        options.peers = against?.peers
        options.runs = runs
        options.cold = cold
        options.quick = quick
        options.jsonPath = jsonFile
        options.htmlPath = report
        options.picturePath = picture
        options.budgetPath = budget
        options.allocationCounter = allocationCounter
        options.colors = Console.isTerminal(STDOUT_FILENO) && Environment.value("NO_COLOR") == nil
        let outcome: BenchOutcome
        do {
            outcome = try Bench.run(options, version: LayerKitVersion.current, console())
        } catch {
            throw error.layerError("bench")
        }
        switch outcome {
        case .done: return
        case .incomplete:
            throw LayerError(.unsupported, "bench", cause: .reason("not everything could be measured, see above"))
        case .failed:
            throw LayerError(.limitExceeded, "bench", cause: .reason("ldiff failed or exceeded its budget, see above"))
        }
    }

    private func printComparison() throws {
        do {
            let comparison = try BenchComparison(compare[0], compare[1])
            for line in comparison.text { Console.output(line + "\n") }
            if let jsonFile { try comparison.write(to: jsonFile) }
        } catch {
            throw error.layerError("bench")
        }
    }

    private func draw(_ result: String, _ picture: String) throws {
        do {
            try FiguresPicture(result, jobs: job).write(to: picture)
        } catch {
            throw error.layerError("bench")
        }
    }

    private func console() -> BenchConsole {
        let isJSON = progress == .json
        let isShown = progress == .always || (progress == .auto && Console.isTerminal(STDERR_FILENO))
        return BenchConsole(
            line: { text in
                if isShown { Console.error("\r\u{1b}[K") }
                Console.output(text + "\n")
            },
            status: { text, part in
                if isJSON, let text { Console.error(Self.statusObject(text, part).text + "\n") }
                guard isShown else { return }
                Console.error("\r" + String(Self.statusLine(text, part).prefix(Console.columns - 1)) + "\u{1b}[K")
            })
    }

    /// The same for programs.
    private static func statusObject(_ text: String, _ part: Double?) -> JSONObject {
        var object = JSONObject()
        object.add("progress", "bench")
        object.add("what", text)
        if let part { object.add("percent", Int(max(0, min(1, part)) * 100)) }
        return object
    }

    /// `[####----]  43%  making linux-source`.
    private static func statusLine(_ text: String?, _ part: Double?) -> String {
        guard let text else { return "" }
        guard let part else { return text }
        let filled = Int(max(0, min(1, part)) * 20)
        let bar = String(repeating: "#", count: filled) + String(repeating: "-", count: 20 - filled)
        return "[\(bar)] \(Int(part * 100))%  \(text)"
    }
}

/// `ldiff bench-probe`: what `bench` runs in processes of its own; not for people.
struct BenchProbeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench-probe", abstract: "A floor or a check of bench.", shouldDisplay: false)

    @Argument(parsing: .captureForPassthrough) var arguments: [String] = []

    func run() throws {
        do {
            Console.output(try BenchProbe.run(arguments))
        } catch {
            throw error.layerError("bench-probe")
        }
    }
}

extension BenchJob: ExpressibleByArgument {}
extension TargetFileSystem: ExpressibleByArgument {}

/// What `--against` takes.
struct PeerList: ExpressibleByArgument {
    var peers: [PeerName]

    init?(argument: String) {
        let names = argument.split(separator: ",", omittingEmptySubsequences: false).map {
            PeerName(rawValue: String($0))
        }
        peers = names.compactMap { $0 }
        if peers.count != names.count { return nil }
    }

    static var allValueStrings: [String] { PeerName.allCases.map(\.rawValue) }
}

extension BenchFailure {
    /// The failure as the program reports it.
    fileprivate func layerError(_ operation: String) -> LayerError {
        let code: LayerError.Code =
            switch kind {
            case .unavailable: .unsupported
            case .noInput: .notFound
            case .usage: .invalidArgument
            case .failed: .io
            case .wrongResult: .digestMismatch
            case .cannotWrite: .cannotCreate
            }
        return LayerError(code, operation, cause: .reason(description))
    }
}
