import ArgumentParser
import LayerModel
import LayerPipeline
import LinuxIO

/// `ldiff diff`: writes a layer.
struct DiffCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff",
        abstract: "Writes a layer: what a tree holds, or how it differs from others.",
        discussion: """
            Without --lower the layer holds all of UPPER. With --lower it holds what changed: UPPER is another whole \
            tree, or with --dialect a directory of changes as overlayfs, aufs or fuse-overlayfs keep them. The file \
            appears under its name only when it is complete. SOURCE_DATE_EPOCH bounds the times of the containerd \
            profile.

            EXAMPLES:
              ldiff diff rootfs -o layer.tar
              ldiff diff rootfs --compress zstd --level 9 --digest --json -o layer.tar.zst
              ldiff diff rootfs --compress zstd:chunked --annotations-out annotations.json -o layer.tar.zst
              ldiff diff rootfs --exclude 'var/cache/**' --exclude '**/*.pyc' -o layer.tar
              ldiff diff new --lower old | ssh host ldiff apply - /srv/root
              ldiff diff upper --lower lower2 --lower lower1 --dialect overlay -o layer.tar
            """)

    @OptionGroup var source: SourceArguments

    @OptionGroup var target: LayerOutputArguments
    @OptionGroup var maps: IDMapOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run() throws {
        try target.checkTerminal()
        var options = try target.exportOptions(global)
        options.diff.uidMap = maps.users
        options.diff.gidMap = maps.groups
        options.diff.skipUnreadable = source.skipUnreadable
        let stopwatch = Stopwatch()
        let (interruption, progress) = (Interruption(), Progress())
        Interrupts.watch(interruption)
        let bar = ProgressBar.start("diff", global, writing: progress)
        defer { bar?.stop() }
        let outputs = try target.open()
        let beside = try target.index.open()
        let written = try LayerError.advisingSkips(below: source.upper.path) { () throws(LayerError) in
            try LayerExport.write(
                source.source(global, interruption, progress), to: outputs.layer, tarSplit: outputs.tarSplit,
                options: options)
        }
        bar?.stop()
        try LayerIndexArguments.write(written.index, beside)
        try Report(written, target, global, seconds: stopwatch.seconds)
            .write(global, layerOnOutput: target.goesToStandardOutput)
    }
}
