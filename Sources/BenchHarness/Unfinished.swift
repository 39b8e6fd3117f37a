import Synchronization

/// What a run has until now, for whoever stops it.
final class Unfinished: Sendable {
    private struct Held {
        var result: BenchResult?
        /// Jobs whose tables were printed.
        var printed = 0
    }

    private let held = Mutex(Held())
    private let options: BenchOptions

    init(_ options: BenchOptions) { self.options = options }

    func set(_ result: BenchResult, printed: Int? = nil) {
        held.withLock { held in
            held.result = result
            if let printed { held.printed = printed }
        }
    }

    /// The tables of what no table was printed of yet, and where the rest lies.
    func lines() -> [String] {
        let (found, printed) = held.withLock { ($0.result, $0.printed) }
        guard let result = found else { return [] }
        var lines: [String] = []
        for job in result.jobs.dropFirst(printed) where job.groups.contains(where: \.hasFigures) {
            lines += ["", "stopped; until then:"]
            lines += TextTable.lines(job, processors: result.processors, colors: options.colors)
        }
        let files = [options.jsonPath, options.htmlPath, options.picturePath].compactMap { $0 }
            .filter { TextFile.exists(TextFile.unfinished($0)) }.map(TextFile.unfinished)
        if !files.isEmpty { lines.append("what was measured is in \(files.joined(separator: ", "))") }
        return lines
    }
}

extension Group {
    var hasFigures: Bool { rows.contains { $0.series?.samples.isEmpty == false } }
}
