import Glibc
import LayerModel
import LayerPipeline
import LinuxIO
import PlainJSON

/// What a verb tells when it is done: a JSON object, or lines for people on standard error.
struct Report {
    /// The JSON object.
    var json = JSONObject()
    /// One line for people.
    var summary = ""
    /// Warnings that the engine kept, and how many there were.
    var warnings: [String] = []
    var warningCount = 0
    /// What `--skip-unreadable` left out.
    var skippedUnreadable = 0
    /// What was asked of the kernel, for `--verbose`.
    var io = IOCounters()

    /// Writes the report; `layerOnOutput` says that standard output carries a layer.
    func write(_ global: GlobalOptions, layerOnOutput: Bool) throws(LayerError) {
        if global.verbose { Console.error(details(global)) }
        if !global.json {
            if !global.verbose, !global.quiet { Console.error(firstWarnings) }
            if !global.quiet { Console.error("ldiff: " + summary + notes(global) + "\n") }
        } else if layerOnOutput {
            Console.error(json.text + "\n")
        } else {
            try OutputFile.standardOutput().writeText(json.text + "\n")
        }
    }

    /// For verbs whose result went out already: on standard error what is left to say, if there is anything.
    func writeNotes(_ global: GlobalOptions) {
        if global.verbose { Console.error(details(global)) }
        if !global.verbose, !global.quiet, !global.json { Console.error(firstWarnings) }
        let notes = notes(global)
        if global.verbose || (!global.quiet && !notes.isEmpty) { Console.error("ldiff: " + summary + notes + "\n") }
    }

    /// The warnings: after their number and texts are set.
    mutating func addWarnings() {
        json.add("warnings", warnings)
        json.add("warningCount", warningCount)
    }

    /// Which layer of a store it is about.
    mutating func add(_ layer: StoreLayer) {
        json.add("id", layer.id)
        if let parent = layer.parent { json.add("parent", parent) }
    }

    private func notes(_ global: GlobalOptions) -> String {
        var text = ""
        if skippedUnreadable > 0 { text += "; left out \(skippedUnreadable) that could not be read" }
        if warningCount > Self.warningsShown, !global.verbose {
            text += "; \(warningCount) warnings, all shown by --verbose"
        }
        return text
    }

    /// Warnings that are shown without being asked for: what was left out has its name there.
    private static let warningsShown = 5

    private var firstWarnings: String {
        warnings.prefix(Self.warningsShown).map(Self.line).joined()
    }

    private static func line(_ warning: String) -> String { "ldiff: warning: " + RawArguments.oneLine(warning) + "\n" }

    private func details(_ global: GlobalOptions) -> String {
        var text = ""
        // A report in JSON has them already.
        if !global.json {
            for warning in warnings { text += Self.line(warning) }
        }
        if !global.json, warningCount > warnings.count {
            text += "ldiff: warning: and \(warningCount - warnings.count) more\n"
        }
        text += "ldiff: io \(global.io.rawValue): "
        text += io.fields.filter { $0.1 > 0 }.map { "\($0.0) \($0.1)" }.joined(separator: ", ") + "\n"
        return text
    }
}

extension IOCounters {
    /// The counters as an object, with the mode that was asked for.
    func json(_ mode: IOMode) -> JSONObject {
        var object = JSONObject()
        object.add("mode", mode.rawValue)
        for (name, value) in fields { object.add(name, value) }
        return object
    }
}

/// Measures how long a job takes.
struct Stopwatch {
    private let start = ContinuousClock.now
    var seconds: Double { start.duration(to: .now) / .seconds(1) }
}
