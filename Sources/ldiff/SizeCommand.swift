import ArgumentParser
import LayerModel
import LayerPipeline
import LinuxIO
import PlainJSON

/// `ldiff size`: how large a difference is.
struct SizeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "size",
        abstract: "Prints the bytes of the difference.",
        discussion: """
            The number is the one that Docker and containerd report for a layer: the sizes of its files, each inode \
            once. With --json there is more: apparent and allocated bytes, the sum of the sizes in tar headers, \
            entries, inodes.

            EXAMPLES:
              ldiff size rootfs
              ldiff size new --lower old --json
              ldiff size upper --lower lower --dialect overlay
            """)

    @OptionGroup var source: SourceArguments
    @Flag(help: "Read files whose metadata agree, so that one rewritten within a clock tick is seen.")
    var compareContents = false

    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run() throws {
        let stopwatch = Stopwatch()
        let (interruption, progress) = (Interruption(), Progress())
        Interrupts.watch(interruption)
        let bar = ProgressBar.start("size", global, walking: progress)
        defer { bar?.stop() }
        let size = try LayerError.advisingSkips(below: source.upper.path) { () throws(LayerError) in
            try LayerDifference.size(
                source.source(global, interruption, progress, compareContents), skipUnreadable: source.skipUnreadable)
        }
        bar?.stop()
        let seconds = stopwatch.seconds
        if !global.json { try OutputFile.standardOutput().writeText("\(size.bytes)\n") }
        var report = Report()
        report.json.add("size", size.bytes)
        report.json.add("apparentBytes", size.apparent)
        report.json.add("allocatedBytes", size.allocated)
        report.json.add("headerSumBytes", size.headerSum)
        report.json.add("entries", size.entries)
        report.json.add("inodes", size.inodes)
        report.json.add("seconds", seconds: seconds)
        report.json.add("io", size.io.json(global.io))
        report.json.add("skippedUnreadable", size.skippedUnreadable)
        report.warnings = size.warnings
        report.warningCount = size.warnings.count
        report.addWarnings()
        report.skippedUnreadable = size.skippedUnreadable
        report.io = size.io
        report.summary = "\(Human.entries(size.entries)) in \(Human.seconds(seconds))"
        if global.json {
            try report.write(global, layerOnOutput: false)
        } else {
            report.writeNotes(global)
        }
    }
}
