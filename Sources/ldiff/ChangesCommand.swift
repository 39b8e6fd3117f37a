import ArgumentParser
import LayerModel
import LayerPipeline
import LinuxIO

/// `ldiff changes`: lists what changed.
struct ChangesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "changes",
        abstract: "Lists what was added (A), changed (C) and deleted (D).",
        discussion: """
            One line each, sorted by the bytes of the path. Control characters, backslashes and bytes that are not \
            UTF-8 are written as \\xNN; with -0 paths are written as they are and each ends with a NUL.

            EXAMPLES:
              ldiff changes new --lower old
              ldiff changes upper --lower lower --dialect overlay
              ldiff changes new --lower old -0 | xargs -0 -n1 echo
            """)

    @OptionGroup var source: SourceArguments

    @Flag(help: "Read files whose metadata agree, so that one rewritten within a clock tick is seen.")
    var compareContents = false

    @Flag(name: [.customShort("0"), .customLong("null")], help: "Raw paths, each ended by a NUL instead of a newline.")
    var null = false

    @OptionGroup(title: "Global options") var global: GlobalOptions

    func validate() throws {
        if null && global.json { throw ValidationError("-0 and --json exclude each other") }
    }

    func run() throws {
        let stopwatch = Stopwatch()
        let (interruption, progress) = (Interruption(), Progress())
        Interrupts.watch(interruption)
        let bar = ProgressBar.start("changes", global, walking: progress)
        defer { bar?.stop() }
        let global = global
        let listed = try LayerError.advisingSkips(below: source.upper.path) { () throws(LayerError) in
            try LayerDifference.list(
                source.source(global, interruption, progress, compareContents), skipUnreadable: source.skipUnreadable,
                format: ChangeListFormat(global, null: null), to: try OutputFile.standardOutput(),
                prefix: ChangeListFrame.prefix(global),
                suffix: { ChangeListFrame.suffix(global, $0, stopwatch) })
        }
        bar?.stop()
        // The JSON object went out with the list, which is its first member.
        Report(listed, global, seconds: stopwatch.seconds).writeNotes(global)
    }
}
