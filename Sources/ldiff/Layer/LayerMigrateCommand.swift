import ArgumentParser
import LayerDrivers
import LayerModel
import LayerPipeline
import LinuxIO
import PlainJSON

/// `ldiff layer migrate`: copies layers from one store to another.
struct LayerMigrateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract: "Copies layers with all that they lie upon from one store to another.",
        discussion: """
            Docker dropped the drivers aufs and overlay: this takes their layers along, and those of any other driver. \
            Without IDs every layer is copied, those of containers included. Ids stay. Each layer is read from the one \
            store, unpacked into the other, read again there and compared. The source is only read.

            A layer is in the target as a whole or not at all. Run it again after an interruption: layers that are \
            there are compared and left alone. Different layers of the same id are an error; nothing that was there is \
            replaced.

            Docker's own records lie beside the store, in image/DRIVER and containers; the driver overlay keeps the parents \
            of image layers only there. With the daemon stopped, --docker gives them to the new driver when all layers are \
            copied: image/TO becomes a copy of image/FROM, and each container's config.v2.json names TO, with the one that \
            was there kept as config.v2.json.FROM. Then start dockerd with --storage-driver TO.

            Copies have times to the nanosecond, trusted. and security. attributes, capabilities, access lists, holes, and \
            their size limits where the driver has such; where it has not, the layers are named. \
            Labels of SELinux and last accesses are those of the new files.

            Status 65: a copied layer is not what it was.

            EXAMPLES:
              ldiff layer migrate --from aufs --from-home /var/lib/docker/aufs --to overlay2 \\
                  --home /var/lib/docker/overlay2
              ldiff layer migrate --from-home /old/overlay --home /new/overlay2 --dry-run
            """)

    @Argument(help: "The layers to copy; all if none is named.")
    var id: [LayerArgument] = []

    @Option(
        help: ArgumentHelp(
            "The driver of the store that is read; not needed where --from-home ends in its name.",
            valueName: "driver"))
    var from: DriverName?

    @Option(help: ArgumentHelp("The directory of the store that is read.", valueName: "dir"), completion: .directory)
    var fromHome: PathArgument

    @Option(
        name: .customLong("from-opt"),
        help: ArgumentHelp("An option of the driver of the store that is read.", valueName: "k=v"))
    var fromOptions: [String] = []

    @Option(
        help: ArgumentHelp(
            "The driver of the store that is written; not needed where --home ends in its name.", valueName: "driver"))
    var to: DriverName?

    @Option(
        name: .customLong("layerdb"),
        help: ArgumentHelp(
            "Docker's records of the layers that are read, if not in image/DRIVER/layerdb beside --from-home.",
            valueName: "dir"),
        completion: .directory)
    var layerDatabase: PathArgument?

    @Flag(help: "Also give Docker's records of images and containers to the new driver; the daemon must be stopped.")
    var docker = false

    @Flag(help: "Only say what would be copied.")
    var dryRun = false

    @Flag(help: "Wait after each layer until it is on disk (one syncfs).")
    var sync = false

    @Option(
        help: ArgumentHelp(
            "Long runs of zeros in files become holes; never: every byte takes its place on the disk.",
            valueName: "when"))
    var sparse: SparsePolicy = .auto

    @Option(
        help: ArgumentHelp(
            "What copies are kept as in a store of erofs: auto, packed (their own tar) or directory.",
            valueName: "form"))
    var form: FormChoice?

    @OptionGroup(title: "Store") var store: StoreArguments
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func validate() throws {
        if let to, let driver = store.driver, to != driver {
            throw ValidationError("--to and --driver name different drivers for the target")
        }
        if docker, !id.isEmpty { throw ValidationError("--docker takes all layers along: name none") }
    }

    func run() throws {
        let stopwatch = Stopwatch()
        let interruption = Interruption()
        Interrupts.watch(interruption, patience: .store)
        let ids = try id.map { (argument) throws(LayerError) in try argument.id() }
        let progress = MigrationProgress()
        let source = try openSource()
        let records = try layerDatabase.map { (path) throws(LayerError) in try DockerRecords(database: path.path) }
        let dockerPlan = try docker ? planMove(source) : nil
        let move = try dryRun ? nil : dockerPlan.map { (plan) throws(LayerError) in try DockerMove(plan) }
        let target = dryRun ? nil : try openTarget()
        let seen: (any StoreReader)? = if let target { target } else { try targetStore.readIfPresent(global) }
        var migration = StoreMigration(
            from: source, to: seen, parents: try (records ?? DockerRecords(of: source)).parents,
            interruption: interruption, progress: progress)
        migration.sparse = sparse
        let bar = ProgressBar.start("migrate", global) {
            let now = progress.now
            return ProgressBar.Sample(
                entries: now.entries, bytes: now.bytes, total: progress.totalBytes.load(ordering: .relaxed))
        }
        defer { bar?.stop() }
        let steps = try migration.plan(ids)
        guard let target else {
            bar?.stop()
            return try Self.report(steps, try dockerPlan?.containerCount, global, stopwatch.seconds).write(
                global, layerOnOutput: false)
        }
        var done = 0
        let tells = global.verbose
        let result = try migration.run(steps, in: target) { step, isCopied in
            done += 1
            guard tells else { return }
            ProgressBar.clearLine()
            Console.error(
                "ldiff: \(done) of \(steps.count): \(step.id) \(isCopied ? "copied" : "is there already")\n")
        }
        bar?.stop()
        let containers = try move?.run()
        try Self.report(result, containers, global, stopwatch.seconds).write(global, layerOnOutput: false)
    }

    /// Looks whether Docker's records can go along, before anything is written.
    private func planMove(_ source: any StoreReader) throws -> DockerMovePlan {
        let place = try StorePlace(store.home.path)
        let root = source.configuration.root
        guard let driver = targetStore.driver ?? place.driver, place.home == root.appending(driver.rawValue) else {
            throw LayerError(
                .invalidArgument, "move Docker's records", path: place.home,
                cause: .reason("both stores must lie in one Docker directory, each under its driver's name"),
                hint: "give --home \(root)/DRIVER")
        }
        return try DockerMovePlan(of: root, from: source.name, to: driver)
    }

    private func openSource() throws -> any StoreReader {
        var source = store
        source.home = fromHome
        source.driver = from
        source.storageOptions = []
        source.driverOptions = fromOptions
        return try source.read(global)
    }

    private func openTarget() throws -> any LayerDriver {
        try targetStore.open(global, making: true, sync: sync, form: form)
    }

    private var targetStore: StoreArguments {
        var target = store
        target.driver = to ?? store.driver
        return target
    }

    /// What would be done.
    private static func report(
        _ steps: [MigrationStep], _ containers: Int?, _ global: GlobalOptions, _ seconds: Double
    ) -> Report {
        let missing = steps.filter { !$0.isThere }
        let bytes = missing.reduce(0) { $0 + $1.size }
        var report = Report()
        report.json.add(
            "layers",
            steps.map { step in
                var object = JSONObject()
                object.add("id", step.id)
                if let parent = step.parent { object.add("parent", parent) }
                object.add("size", step.size)
                object.add("exists", step.isThere)
                return object
            })
        report.json.add("size", bytes)
        if let containers { report.json.add("containers", containers) }
        report.json.add("seconds", seconds: seconds)
        if !global.json {
            for step in steps {
                Console.output(
                    "\(step.isThere ? "there" : "copy ") \(step.id)\(step.parent.map { " on \($0)" } ?? "")"
                        + "  \(Human.bytes(step.size))\n")
            }
        }
        report.summary =
            "would copy \(count(missing.count)), \(Human.bytes(bytes)), and compare "
            + "\(steps.count - missing.count) that the target has"
        if let containers {
            report.summary += "; and move Docker's records of its images and of \(containers) containers"
        }
        return report
    }

    /// What was done.
    private static func report(
        _ result: MigrationReport, _ containers: Int?, _ global: GlobalOptions, _ seconds: Double
    ) -> Report {
        var report = Report()
        report.json.add("copied", result.copied)
        report.json.add("skipped", result.skipped)
        report.json.add("entries", result.entries)
        report.json.add("bytes", result.copiedBytes)
        report.json.add("skippedSockets", result.skippedSockets)
        report.json.add("reservedNames", result.reservedNames)
        report.json.add(
            "leftOutAttributes",
            (Array(result.leftOutAttributes.counts) + Array(result.unwritableAttributes.counts)).sorted {
                $0.key < $1.key
            }.map { name, count in
                var item = JSONObject()
                item.add("name", name)
                item.add("entries", count)
                return item
            })
        report.json.add("lostLimits", result.lostLimits)
        if let containers { report.json.add("containers", containers) }
        report.json.add("seconds", seconds: seconds)
        report.summary =
            "copied and compared \(count(result.copied.count)), \(Human.entries(result.entries)), "
            + "\(Human.bytes(result.copiedBytes)) of tar in \(Human.seconds(seconds))"
        if !result.skipped.isEmpty { report.summary += "; \(result.skipped.count) were there already" }
        if result.skippedSockets > 0 { report.summary += "; left out \(result.skippedSockets) sockets" }
        if result.reservedNames > 0 {
            report.summary += "; left out \(result.reservedNames) names that mean deletions"
        }
        if !result.leftOutAttributes.isEmpty {
            report.summary += "; left out as /etc/xattr.conf says: \(result.leftOutAttributes.text)"
        }
        if !result.unwritableAttributes.isEmpty {
            report.summary +=
                "; LEFT OUT, since no layer can hold their names: \(result.unwritableAttributes.text)"
        }
        if !result.lostLimits.isEmpty {
            report.summary +=
                "; without their size limits, which the target's driver does not have here: "
                + result.lostLimits.map(\.description).joined(separator: ", ")
        }
        if let containers { report.summary += "; Docker's records of its images and of \(containers) containers moved" }
        return report
    }

    private static func count(_ layers: Int) -> String { layers == 1 ? "1 layer" : "\(layers) layers" }
}
