/// How long one kind of call took in a run of many: seconds.
struct CallLatency: Sendable, Equatable {
    var name: String
    var median: Double
    /// The shortest of the slowest tenth.
    var slowTenth: Double

    /// Reads what the programs that make the calls print: seconds in all, then for each kind of call its name, and the
    /// microseconds of the median, the slowest tenth and the slowest. nil for anything else.
    static func parse(_ text: String) -> [CallLatency]? {
        var words = text.split(whereSeparator: \.isWhitespace)[...]
        guard words.popFirst().flatMap({ Double($0) }) != nil, !words.isEmpty else { return nil }
        var found: [CallLatency] = []
        while !words.isEmpty {
            guard words.count >= 4, let name = words.popFirst(), let median = words.popFirst().flatMap({ Double($0) }),
                let tenth = words.popFirst().flatMap({ Double($0) }), words.popFirst().flatMap({ Double($0) }) != nil
            else { return nil }
            found.append(CallLatency(name: String(name), median: median / 1e6, slowTenth: tenth / 1e6))
        }
        return found
    }

    /// The line that `parse` reads, from the times of each call.
    static func line(seconds: Double, _ calls: [(name: String, seconds: [Double])]) -> String {
        let microseconds = { (value: Double) in Format.fixed(value * 1e6, 0) }
        return calls.reduce(Format.fixed(seconds, 3)) { line, call in
            let times = call.seconds.sorted()
            guard let slowest = times.last else { return line }
            let tenth = times[min(times.count - 1, times.count * 9 / 10)]
            return line
                + "  \(call.name) \(microseconds(times[times.count / 2])) \(microseconds(tenth)) \(microseconds(slowest))"
        } + "\n"
    }
}

/// Who makes the calls: the snapshotter's through a socket, or with a driver Docker's own on layers.
extension ScenarioBuilder {
    /// Calls of one kind in a run.
    static let callCount = 200
    private static let callers = 8

    /// What takes part in the job `latency`: each makes the same calls in a store of its own, and prints `CallLatency.line`.
    func latency() -> [Contender] { driver.map(callsOfDriver) ?? callsOfSnapshotter() }

    private func callsOfDriver(_ driver: String) -> [Contender] {
        let (program, count) = (program, String(Self.callCount))
        let own = Contender(.own, "ldiff \(driver)", .nothing) {
            Pipeline([program, "bench-probe", "latency", driver, $0 + "/" + driver, count])
        }
        return [own]
            + peer(.drivers, "Docker 20.10 \(driver)", .nothing) {
                Pipeline([$0, "latency", driver, $1 + "/" + driver, count])
            }
    }

    /// The daemons' own socket, without containerd between: a server is started for the run, and ended.
    private func callsOfSnapshotter() -> [Contender] {
        let daemon = Self.daemon
        guard let caller = peers[.snapshots] else {
            return [Contender(missing: PeerName.snapshots.installation, .own, "ldiff")]
        }
        let script = """
            mkdir -p "$2/s" && "$0" $3 >"$2/log" 2>&1 & server=$!
            tries=0; until [ -S "$2/s/socket" ] || [ $tries -eq 200 ]; do sleep 0.05; tries=$((tries + 1)); done
            "$1" calls "$2/s/socket" "$4" bench \(Self.callers) \(Self.callCount / Self.callers); status=$?
            kill $server; wait $server
            [ $status -eq 0 ] || cat "$2/log" >&2
            exit $status
            """
        let run = { (server: String, options: String, snapshotter: String) in
            { (target: String) in
                let options = options.replacing("TARGET", with: target)
                return Pipeline(["sh", "-c", script, server, caller, target, options, snapshotter])
            }
        }
        let own =
            TextFile.exists(daemon)
            ? Contender(
                .own, "ldiff", .nothing,
                run(
                    daemon,
                    "--address TARGET/s/socket --root TARGET/root --containerd-address TARGET/no-containerd", "ldiff"))
            : Contender(missing: "\(daemon) is not built: make daemons", .own, "ldiff")
        return [own]
            + peer(.snapshots, "containerd 1.6 overlayfs", .nothing) { peer, target in
                run(peer, "serve TARGET/s/socket TARGET/root", "overlayfs")(target)
            }
    }

    /// The snapshotter, beside the program.
    static let daemon: String = {
        let program = BenchProbe.program
        guard let slash = program.lastIndex(of: "/") else { return "containerd-ldiff-grpc" }
        return String(program[...slash]) + "containerd-ldiff-grpc"
    }()
}

extension JobRunner {
    /// Runs the job `latency`: a round that is not kept, then the rounds, all contenders in turn. Each kind of call is a group,
    /// its samples the medians of the rounds; and one more of the slowest tenths.
    func runLatency(_ contenders: [Contender]) -> [Group] {
        var kinds: [String] = []
        var rows = contenders.map { _ in [String: (median: Series, tenth: Series)]() }
        var reasons = contenders.map { $0.missing.map { Row.Outcome.unavailable($0) } }
        for round in 0...options.effectiveRuns {
            for (index, contender) in contenders.enumerated() where reasons[index] == nil {
                console.status("latency: \(contender.name), \(round == 0 ? "checking" : "run \(round)")", nil)
                do throws(BenchFailure) {
                    for call in try calls(contender) {
                        if !kinds.contains(call.name) { kinds.append(call.name) }
                        guard round > 0 else { continue }
                        let sample = { (seconds: Double) in
                            Sample(seconds: seconds, userSeconds: 0, systemSeconds: 0, peakKiB: 0, writtenBytes: nil)
                        }
                        rows[index][call.name, default: (Series(), Series())].median.samples.append(sample(call.median))
                        rows[index][call.name]?.tenth.samples.append(sample(call.slowTenth))
                    }
                } catch {
                    reasons[index] =
                        error.kind == .unavailable
                        ? .unavailable(error.description) : .failed(error.description)
                }
            }
        }
        console.status(nil, nil)
        let group = { (title: String, series: (Int) -> Series?) in
            Group(
                title: title, entries: 0, bytes: 0,
                rows: contenders.indices.map { index in
                    Row(
                        role: contenders[index].role, name: contenders[index].name,
                        command: contenders[index].pipeline("TARGET").description,
                        outcome: reasons[index] ?? .measured(series(index) ?? Series()))
                })
        }
        if kinds.isEmpty { return [group("calls") { _ in nil }] }
        let count = ScenarioBuilder.callCount
        return kinds.flatMap { kind in
            [
                group("\(kind), median of \(count) calls") { rows[$0][kind]?.median },
                group("\(kind), slowest tenth of \(count) calls") { rows[$0][kind]?.tenth },
            ]
        }
    }

    private func calls(_ contender: Contender) throws(BenchFailure) -> [CallLatency] {
        let target = try FreshTarget(entries: 10_000, bytes: 64 << 20, on: options.target)
        defer { withExtendedLifetime(target) {} }
        let output = try contender.pipeline(target.path).run(sink: .memory).output
        let text = String(decoding: output, as: UTF8.self)
        guard let calls = CallLatency.parse(text) else {
            throw BenchFailure(.wrongResult, "said \(text.prefix(60).trimmed), expected times of calls")
        }
        return calls
    }
}
