import LinuxIO

/// Allocations of ldiff, counted by a library that stands before malloc(3).
enum AllocationCount {
    /// What a job allocates beyond what the same job allocates on ten entries, for 1,000 entries.
    ///
    /// A diff is counted with plain calls and with a ring, and the larger number is told: how a file is read depends
    /// on what the kernel holds in memory, which would make the count one of chance.
    static func per1000Entries(_ job: BenchJob, _ input: BenchInput, _ library: String) throws(BenchFailure) -> Double?
    {
        let ten = try Recipe.kept("ten") { path throws(BenchFailure) in
            try SyntheticTree(shape: .tiny, entries: 10).make(at: path) { _ in }
        }
        switch job {
        case .diff:
            var most = 0.0
            for way in RingCapabilities.current.isUsable ? ["sync", "ring"] : ["sync"] {
                let how = ["-o", "-", "--io", way]
                most = max(most, try growth(["diff", input.tree] + how, ["diff", ten] + how, input, library))
            }
            return most
        case .size: return try growth(["size", input.tree], ["size", ten], input, library)
        case .changes:
            let dialect = ["--dialect", "overlay"]
            return try growth(["changes", input.tree] + dialect, ["changes", ten] + dialect, input, library)
        case .apply:
            let layerOfTen = try Recipe.kept("ten.tar") { path throws(BenchFailure) in
                _ = try Pipeline([BenchProbe.program, "diff", ten, "-o", path, "--quiet"]).run()
            }
            let layer = try input.layer()
            let target = try FreshTarget(entries: input.summary.entries, bytes: input.summary.bytes)
            // Unmounted when it goes, so it must outlive both runs.
            defer { withExtendedLifetime(target) {} }
            return try growth(
                ["apply", layer, target.path + "/all"], ["apply", layerOfTen, target.path + "/ten"], input, library)
        default: return nil
        }
    }

    private static func growth(
        _ all: [String], _ ten: [String], _ input: BenchInput, _ library: String
    ) throws(BenchFailure) -> Double {
        let beyond = try count(all, library) - count(ten, library)
        return max(0, beyond) * 1000 / Double(max(1, input.summary.entries))
    }

    private static func count(_ arguments: [String], _ library: String) throws(BenchFailure) -> Double {
        let counted = ["env", "LD_PRELOAD=" + library, "LDIFF_COUNT_ALLOCATIONS=1", BenchProbe.program]
        let said = String(decoding: try Pipeline(counted + arguments + ["--quiet"]).run().errors, as: UTF8.self)
        for line in said.split(separator: "\n") where line.hasPrefix("allocations: ") {
            if let number = Double(line.dropFirst("allocations: ".count)) { return number }
        }
        throw BenchFailure(.unavailable, "\(library) does not count allocations")
    }
}
