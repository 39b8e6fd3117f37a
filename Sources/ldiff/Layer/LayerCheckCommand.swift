import ArgumentParser
import LayerDrivers
import LayerModel
import LayerPipeline
import PlainJSON

/// `ldiff layer check`: looks for what a crash left.
struct LayerCheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Looks for what a crash left in a store, and mends it.",
        discussion: """
            Finds layers that were being made or removed, names in l/ that disagree with their layers, chains of lower \
            layers that are broken, mounts whose server is dead, datasets and snapshots of no layer, recorded sizes \
            that are wrong. One line each: found, repaired or left, what it is, where, and what was done or can be.

            Without --repair nothing is changed. Nothing that is complete, in use or somebody else's is ever removed. EXIT STATUS: 0 \
            nothing was found or all of it was repaired, 65 something is left.

            --verify reads every file of the layers, several layers at a time, and names those that differ, a line each; \
            status 65 then. Of a layer that is kept as its own tar (erofs) it reads that, which must have the digest it came with. Docker keeps the metadata in image/DRIVER/layerdb beside the store; layers without are told, and \
            are no error. Owners, modes and attributes are not compared: ldiff compare does that, with a layer.

            EXAMPLES:
              ldiff layer check --home /srv/overlay2
              ldiff layer check --repair --json --home /var/lib/docker
              ldiff layer check --verify --home /var/lib/docker/overlay2
            """)

    @Argument(help: "With --verify: the layers; all that there are, if none is named.")
    var ids: [LayerArgument] = []

    @Flag(
        help: """
            Prove layers instead: the tar of each is rebuilt from its files and Docker's tar-split metadata, and must have \
            the DiffID that Docker recorded.
            """)
    var verify = false

    @Flag(help: "Mend what can be mended.")
    var repair = false

    @OptionGroup(title: "Store") var store: StoreArguments
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func validate() throws {
        if verify, repair { throw ValidationError("--verify and --repair exclude each other") }
        if !verify, !ids.isEmpty { throw ValidationError("layers are named with --verify only") }
    }

    func run() throws {
        if verify { return try LayerVerifyJob(ids: ids, store: store, global: global).run() }
        let stopwatch = Stopwatch()
        let (findings, home) = try find()
        let left = findings.filter { $0.state != .repaired }
        let output = try OutputFile.standardOutput()
        if global.json {
            try output.writeText(json(findings, left.count, stopwatch.seconds).text + "\n")
        } else {
            try output.writeText(findings.map { RawArguments.oneLine($0.description) + "\n" }.joined())
        }
        guard left.isEmpty else {
            throw LayerError(
                .corruptLayer, "check", path: home,
                cause: .reason(
                    "\(left.count) of \(findings.count) things found "
                        + (repair ? "could not be mended" : "are not mended")),
                hint: repair ? nil : "--repair mends what can be mended")
        }
        if !global.json, !global.quiet {
            Console.error(
                findings.isEmpty ? "ldiff: nothing was found\n" : "ldiff: repaired all \(findings.count) found\n")
        }
    }

    private func find() throws -> ([Finding], PathBytes) {
        if repair {
            let driver = try store.open(global)
            return (try driver.repair(), driver.configuration.home)
        }
        let reader = try store.read(global)
        return (try reader.check(), reader.configuration.home)
    }

    private func json(_ findings: [Finding], _ left: Int, _ seconds: Double) -> JSONObject {
        var report = JSONObject()
        report.add(
            "findings",
            findings.map { finding in
                var object = JSONObject()
                object.add("kind", finding.kind.rawValue)
                object.add("state", finding.state.rawValue)
                object.add("path", finding.path)
                object.add("what", finding.what)
                return object
            })
        report.add("left", left)
        report.add("seconds", seconds: seconds)
        return report
    }
}
