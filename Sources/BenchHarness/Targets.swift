/// What ldiff must reach on the Linux source tree with two cores.
///
/// A target says met or missed and changes no exit status: times of a shared machine come and go.
struct Target: Sendable {
    /// One thing asked of one job's figures.
    enum Demand: Sendable {
        /// The peer takes at least so many times as long; `row` names it where a peer has several rows.
        case faster(PeerName, Double, row: String? = nil)
        /// ldiff takes at most so many times as long as the peer.
        case within(PeerName, Double, row: String? = nil)
        /// What ldiff writes is at most so many times as large as what the peer writes.
        case output(PeerName, Double)
        /// ldiff's median, its process's start included, in seconds.
        case seconds(Double)
    }

    var id: String
    var job: BenchJob
    var demands: [Demand]

    static let all = [
        Target(
            id: "P1", job: .diff, demands: [.faster(.bsdtar, 3.5), .faster(.containerd, 4), .faster(.docker, 5.5)]),
        Target(id: "P2", job: .diffCold, demands: [.faster(.tar, 3.5)]),
        Target(id: "P3", job: .size, demands: [.faster(.docker, 3), .faster(.du, 1.7)]),
        Target(id: "P4", job: .changes, demands: [.faster(.docker, 5.5), .faster(.containerd, 2.3)]),
        Target(id: "P5", job: .treeChanges, demands: [.faster(.docker, 5)]),
        Target(
            id: "P6", job: .apply, demands: [.faster(.docker, 2.8), .faster(.containerd, 2.4), .faster(.tar, 1.6)]),
        Target(
            id: "P7", job: .applyGzip, demands: [.faster(.containerd, 3), .faster(.tar, 2.1, row: "GNU tar xzf")]),
        Target(id: "P8", job: .diffGzip, demands: [.faster(.containerd, 12), .output(.containerd, 1.25)]),
        Target(id: "P9", job: .diffZstd, demands: [.within(.zstd, 1.35, row: "zstd -3, finished tar")]),
        Target(id: "P12", job: .smallLayers, demands: [.seconds(0.018)]),
    ]
}

/// What came of a target.
struct TargetResult: Sendable {
    enum State: String, Sendable { case met, missed, unmeasured = "not measured" }

    var id: String
    var state: State
    /// Every figure beside what is asked.
    var details: String

    var line: String { "  " + id.padded(to: 5) + state.rawValue.padded(to: 14) + details }
}

extension BenchResult {
    /// Every target of which something was measured.
    var targets: [TargetResult] {
        var found: [TargetResult] = []
        for target in Target.all {
            guard let group = jobs.first(where: { $0.job == target.job })?.groups.first, group.own != nil else {
                continue
            }
            found.append(Self.combined(target.id, target.demands.map { Self.outcome($0, group) }))
        }
        let memory = memoryTarget
        if !memory.isEmpty { found.append(Self.combined("P10", memory)) }
        if let growth = growthTarget { found.append(Self.combined("P11", [growth])) }
        return found
    }

    /// One figure, and whether it is good enough; nil where it was not measured.
    private typealias Outcome = (isMet: Bool?, text: String)

    private static func combined(_ id: String, _ outcomes: [Outcome]) -> TargetResult {
        let state: TargetResult.State =
            outcomes.contains { $0.isMet == false }
            ? .missed : outcomes.contains { $0.isMet == nil } ? .unmeasured : .met
        return TargetResult(id: id, state: state, details: outcomes.map(\.text).joined(separator: "; "))
    }

    private static func outcome(_ demand: Target.Demand, _ group: Group) -> Outcome {
        let own = group.rows.first { $0.role == .own }
        switch demand {
        case .seconds(let limit):
            guard let series = own?.series else { return (nil, "not measured") }
            return (
                series.median <= limit,
                "\(Format.fixed(series.median * 1000, 1)) ms with the process's start, at most \(Format.fixed(limit * 1000, 0))"
            )
        case .faster(let peer, let factor, let name):
            guard let (row, ratio) = ratio(peer, name, group) else {
                return (nil, "\(name ?? peer.title) not measured")
            }
            return (ratio >= factor, "\(row.name) \(Format.fixed(ratio, 2)) times, at least \(Format.plain(factor))")
        case .within(let peer, let factor, let name):
            guard let (row, ratio) = ratio(peer, name, group), ratio > 0 else {
                return (nil, "\(name ?? peer.title) not measured")
            }
            return (
                1 / ratio <= factor,
                "\(Format.fixed(1 / ratio, 2)) times \(row.name), at most \(Format.plain(factor))"
            )
        case .output(let peer, let factor):
            guard let own, let row = group.rows.first(where: { $0.role == .peer(peer) && $0.outputBytes > 0 }) else {
                return (nil, "size of \(peer.title) not measured")
            }
            let share = Double(own.outputBytes) / Double(row.outputBytes)
            return (
                share <= factor,
                "\(Format.fixed(share, 2)) times the size of \(row.name), at most \(Format.plain(factor))"
            )
        }
    }

    private static func ratio(_ peer: PeerName, _ name: String?, _ group: Group) -> (Row, Double)? {
        let row = group.rows.first { $0.role == .peer(peer) && (name == nil || $0.name == name) && $0.series != nil }
        guard let row, let ratio = group.ratio(row) else { return nil }
        return (row, ratio.value)
    }

    /// P10: 96 MiB in every job, 250 MiB for a million entries.
    private var memoryTarget: [Outcome] {
        var most: (kib: Int, job: String)?
        var million: Int?
        for job in jobs {
            for group in job.groups {
                guard let series = group.own, !series.samples.isEmpty else { continue }
                if group.entries >= 1_000_000 {
                    million = max(million ?? 0, series.peakKiB)
                } else if series.peakKiB > most?.kib ?? 0 {
                    most = (series.peakKiB, job.job.rawValue)
                }
            }
        }
        var outcomes: [Outcome] = []
        if let most {
            outcomes.append(
                (most.kib <= 96 << 10, "\(Format.fixed(Double(most.kib) / 1024, 1)) MiB (\(most.job)), at most 96"))
        }
        if let million {
            outcomes.append(
                (million <= 250 << 10, "\(Format.fixed(Double(million) / 1024, 1)) MiB for a million, at most 250"))
        }
        return outcomes
    }

    /// P11: an entry of a million costs at most 1.25 times what one of 100,000 of the same kind costs.
    private var growthTarget: Outcome? {
        guard let groups = jobs.first(where: { $0.job == .scale })?.groups else { return nil }
        let costs = groups.compactMap { group -> (entries: UInt64, cost: Double)? in
            guard let own = group.own, !own.samples.isEmpty, group.entries >= 100_000 else { return nil }
            return (group.entries, own.median / Double(group.entries))
        }
        guard let small = costs.first, let large = costs.last, large.entries > small.entries else { return nil }
        let growth = large.cost / small.cost
        return (
            growth <= 1.25,
            "\(Format.fixed(growth, 2)) times the cost an entry of \(Format.count(small.entries)) entries, at most 1.25"
        )
    }
}
