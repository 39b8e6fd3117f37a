import LinuxIO

/// Who takes part in a job on one input.
struct Scenario {
    /// `linux-source`, or `10,000 entries` for growth.
    var title: String
    var entries: UInt64
    /// Bytes of files.
    var bytes: UInt64
    var contenders: [Contender]
    /// What a tree made by the job must hold, and a layer of it.
    var expected: Summary
    /// Runs of each for every one asked for: short jobs take more.
    var runFactor = 1
    /// How many times the tree must fit into what a run fills.
    var targetFactor: UInt64 = 1
}

/// A pipeline that does a job, and how its result is checked.
struct Contender {
    enum Role: Equatable {
        case own
        /// Another version of ldiff.
        case baseline
        /// ldiff too, through a driver; compared with the engine alone.
        case driver
        case peer(PeerName)
        /// A probe that does the unavoidable system calls only.
        case floor
    }

    /// What a run must have made.
    enum Check {
        /// A layer that holds what the tree holds.
        case layer
        /// The tree, at the path that the run filled.
        case tree
        /// One of these numbers on standard output, as the first or last word of a line.
        case number([UInt64])
        /// A number on standard output that is this or up to a tenth more: other things count, too.
        case atLeast(UInt64)
        /// So many lines on standard output, and one more or less for the root.
        case lines(UInt64)
        /// These words on standard output, and at most 50 lines.
        case mentions([String])
        /// The probes of the floor make nothing whole.
        case nothing
    }

    var role: Role
    var name: String
    var check: Check
    /// Why it cannot run; nil when it can.
    var missing: String?
    /// Programs that run before the clock does, with the target's path.
    var prepare: (String) -> [Pipeline] = { _ in [] }
    /// Where below the target the tree appears.
    var filled: (String) -> String = { $0 }
    /// What is timed; its argument is the target's path, where the job has one.
    var pipeline: (String) -> Pipeline = { _ in Pipeline() }

    init(_ role: Role, _ name: String, _ check: Check, _ pipeline: @escaping (String) -> Pipeline) {
        self.role = role
        self.name = name
        self.check = check
        self.pipeline = pipeline
    }

    /// The same work, done by another program.
    func done(by baseline: String, insteadOf program: String) -> Contender {
        var other = self
        other.role = .baseline
        other.name = "baseline"
        other.pipeline = { target in
            var pipeline = self.pipeline(target)
            for index in pipeline.stages.indices where pipeline.stages[index].first == program {
                pipeline.stages[index][0] = baseline
            }
            return pipeline
        }
        return other
    }

    init(missing why: String, _ role: Role, _ name: String) {
        self.role = role
        self.name = name
        check = .nothing
        missing = why
    }
}

/// Puts the contenders of each job together.
struct ScenarioBuilder {
    let input: BenchInput
    let peers: Peers
    /// Which peers take part; nil for all.
    let chosen: [PeerName]?
    let console: BenchConsole
    let isQuick: Bool
    /// The driver whose operations are measured, if one is.
    var driver: String?
    var driverHome: String?
    /// Another ldiff that does what this one does.
    var baseline: String?
    var target = TargetFileSystem.ext4

    let program = BenchProbe.program
    let workers = String(WorkerPool.availableCores)

    func scenarios(_ job: BenchJob) throws(BenchFailure) -> [Scenario] {
        var scenarios: [Scenario]
        if let driver { scenarios = try self.scenarios(job, through: driver) } else { scenarios = try alone(job) }
        guard let baseline else { return scenarios }
        for index in scenarios.indices {
            scenarios[index].contenders = withBaseline(scenarios[index].contenders, baseline)
        }
        return scenarios
    }

    private func withBaseline(_ contenders: [Contender], _ baseline: String) -> [Contender] {
        contenders.flatMap { contender in
            contender.role == .own ? [contender, contender.done(by: baseline, insteadOf: program)] : [contender]
        }
    }

    /// The contenders of the job `latency`. Another ldiff takes part where the program makes the calls itself.
    func latencyWithBaseline() -> [Contender] {
        guard let baseline, driver != nil else { return latency() }
        return withBaseline(latency(), baseline)
    }

    private func alone(_ job: BenchJob) throws(BenchFailure) -> [Scenario] {
        switch job {
        case .diff, .diffCold: return [scenario(diff(tree: input.tree))]
        case .size, .sizeCold: return [scenario(size())]
        case .changes, .changesCold: return [scenario(changes())]
        case .treeChanges: return [scenario(try treeChanges())]
        case .apply, .applyCold: return [scenario(try apply())]
        case .applyGzip: return [scenario(try applyGzip())]
        case .applyZstd: return [scenario(try applyZstd())]
        case .diffGzip: return [scenario(diffGzip())]
        case .pack: return [scenario(try pack())]
        case .packGzip: return [scenario(try packGzip())]
        case .diffZstd: return [scenario(try diffZstd())]
        case .chunked: return [scenario(chunked())]
        case .partial: return [scenario(try partial(reusing: true))]
        case .partialNew: return [scenario(try partial(reusing: false))]
        case .compare:
            var compared = scenario(try compare())
            compared.targetFactor = 2
            return [compared]
        case .copy, .copyCold: return [scenario(copy())]
        case .copyWithin:
            var within = scenario(copyWithin())
            within.targetFactor = 2
            return [within]
        case .image: return try images()
        case .smallLayers: return [try smallLayers()]
        case .scale: return try scale()
        case .latency: return []
        }
    }

    private func scenario(_ contenders: [Contender]) -> Scenario {
        Scenario(
            title: input.label, entries: input.summary.entries, bytes: input.summary.bytes, contenders: contenders,
            expected: input.summary)
    }

    // MARK: - Rows

    func own(_ check: Contender.Check, _ pipeline: @escaping (String) -> Pipeline) -> Contender {
        Contender(.own, "ldiff", check, pipeline)
    }

    func floor(_ kind: String, _ paths: @escaping (String) -> [String]) -> Contender {
        let command = [program, "bench-probe", "floor", kind, workers]
        return Contender(.floor, "floor: \(kind)", .nothing) { Pipeline(command + paths($0)) }
    }

    /// A peer's row: none when it was not chosen, one that says so when it is missing. `others` must be there, too.
    func peer(
        _ peer: PeerName, _ title: String, with others: [PeerName] = [], _ check: Contender.Check,
        _ pipeline: @escaping (_ program: String, _ target: String) -> Pipeline
    ) -> [Contender] {
        if let chosen, !chosen.contains(peer) { return [] }
        for needed in [peer] + others where peers[needed] == nil {
            return [Contender(missing: needed.installation, .peer(peer), title)]
        }
        guard let path = peers[peer] else { return [] }
        return [Contender(.peer(peer), title, check) { pipeline(path, $0) }]
    }

    func peer(
        _ name: PeerName, _ check: Contender.Check,
        _ pipeline: @escaping (_ program: String, _ target: String) -> Pipeline
    ) -> [Contender] {
        peer(name, name.title, check, pipeline)
    }
}
