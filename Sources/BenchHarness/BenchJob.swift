/// What can be measured; each gives one table in the report.
package enum BenchJob: String, CaseIterable, Sendable {
    case diff
    case diffCold = "diff-cold"
    case size
    case sizeCold = "size-cold"
    case changes
    case changesCold = "changes-cold"
    case treeChanges = "tree-changes"
    case apply
    case applyCold = "apply-cold"
    case applyGzip = "apply-gz"
    case applyZstd = "apply-zst"
    case diffGzip = "diff-gz"
    case diffZstd = "diff-zst"
    case pack
    case packGzip = "pack-gz"
    case chunked
    case partial
    case partialNew = "partial-new"
    case compare
    case copy
    case copyCold = "copy-cold"
    case copyWithin = "copy-within"
    case image
    case smallLayers = "small-layers"
    case scale
    case latency

    /// A heading.
    package var title: String {
        switch self {
        case .diff: "Diff: the whole tree as a plain layer, to a null sink"
        case .diffCold: "Diff with a cold cache"
        case .size: "DiffSize"
        case .sizeCold: "DiffSize with a cold cache"
        case .changes: "Changes of an overlay layer"
        case .changesCold: "Changes of an overlay layer with a cold cache"
        case .treeChanges: "Changes of two full trees with five differences"
        case .apply: "ApplyDiff of a plain layer"
        case .applyCold: "ApplyDiff of a plain layer that is not in memory"
        case .applyGzip: "ApplyDiff of a gzip layer"
        case .applyZstd: "ApplyDiff of a zstd layer"
        case .diffGzip: "Diff to gzip"
        case .diffZstd: "Diff to zstd, level 3"
        case .pack: "A plain layer as its own tar and an index"
        case .packGzip: "A gzip layer as its own tar and an index"
        case .chunked: "Diff to zstd:chunked, a layer that can be read in parts"
        case .partial: "ApplyDiff in parts: every file is there already"
        case .partialNew: "ApplyDiff in parts: nothing is there yet"
        case .compare: "Comparison of two layers with five differences"
        case .copy: "Copy of a tree into another file system"
        case .copyCold: "Copy of a tree with a cold cache into another file system"
        case .copyWithin: "Copy of a tree within a file system"
        case .image: "Images of five layers, unpacked and packed"
        case .smallLayers: "Diff of ten entries, process start included"
        case .scale: "Diff against the number of entries"
        case .latency: "Single calls of the snapshotter, or of a driver"
        }
    }

    /// The jobs that a driver does too.
    package static let ofDrivers: [BenchJob] = [.diff, .changes, .size, .apply, .latency]

    /// Whether each run fills a new file system.
    var fillsTarget: Bool {
        switch self {
        case .apply, .applyCold, .applyGzip, .applyZstd, .pack, .packGzip, .partial, .partialNew, .compare, .copy,
            .copyCold, .copyWithin, .image:
            true
        default: false
        }
    }

    /// Whether caches are dropped before each run, even without `--cold`.
    var isAlwaysCold: Bool {
        switch self {
        case .diffCold, .sizeCold, .changesCold, .applyCold, .copyCold: true
        default: false
        }
    }
}

/// What a run of the harness is to do.
package struct BenchOptions: Sendable {
    /// The jobs, in the order in which they run; those that `quick` and `driver` imply if empty.
    package var jobs: [BenchJob] = []
    /// A directory, a tar, or a recipe's name; nil for what `quick` implies.
    package var input: String?
    /// Which peers take part; nil for all that are found.
    package var peers: [PeerName]?
    /// A driver, by its name: its operations are measured beside the engine alone, on the same directories.
    package var driver: String?
    /// Where the driver's store is made, for a driver that needs a file system of its own; nil for the cache.
    package var driverHome: String?
    /// Another ldiff, which takes part in every job: the version before.
    package var baseline: String?
    /// What new trees go to.
    package var target = TargetFileSystem.ext4
    /// Timed runs of each contender; nil for what `quick` implies.
    package var runs: Int?
    /// Drop caches before every run.
    package var cold = false
    /// A small input and few runs: under two minutes.
    package var quick = false
    /// Where the results go as JSON, as HTML, and as one picture.
    package var jsonPath: String?
    package var htmlPath: String?
    package var picturePath: String?
    /// Counted budgets to compare with, see `Budget`.
    package var budgetPath: String?
    /// The shared library that counts allocations (product `CMallocCounter`), for budgets that name them.
    package var allocationCounter: String?
    /// Whether the terminal takes escape sequences.
    package var colors = false

    /// Every job on the Linux source tree, five runs each.
    package init() {}

    /// The jobs that run, with the peers that are there.
    func effectiveJobs(_ peers: Peers) -> [BenchJob] {
        if !jobs.isEmpty { return jobs }
        if driver != nil { return BenchJob.ofDrivers }
        return BenchJob.allCases.filter { job in
            switch job {
            // The snapshotter and who calls it are programs of their own, which `make bench` does not build.
            case .latency: !quick && peers[.snapshots] != nil && TextFile.exists(ScenarioBuilder.daemon)
            case .sizeCold, .changesCold, .applyCold, .pack, .packGzip, .copyCold, .copyWithin, .image: !quick
            default: true
            }
        }
    }
    var effectiveRuns: Int { runs ?? (quick ? 3 : 5) }
    var effectiveInput: String { input ?? (quick ? "synthetic" : "linux-source") }
}

/// Why the harness, a job or a contender cannot go on.
package struct BenchFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// Failures that the exit status tells apart.
    package enum Kind: Sendable {
        /// Something that was asked for is not there: a program, a right, space, an input.
        case unavailable
        case noInput
        case usage
        /// A program failed.
        case failed
        /// A program ended well, but what it made is wrong.
        case wrongResult
        case cannotWrite
    }

    package var kind: Kind
    package var description: String

    init(_ kind: Kind, _ description: String) {
        self.kind = kind
        self.description = description
    }
}

/// How a run of the harness ended, for the exit status.
package enum BenchOutcome: Sendable {
    case done
    /// Something asked for was not available, or a peer failed; everything else ran.
    case incomplete
    /// ldiff itself failed, gave a wrong result, or exceeded a budget.
    case failed
}
