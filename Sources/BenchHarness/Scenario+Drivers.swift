/// The four difference operations through a driver, beside the engine alone on the same directories.
///
/// Each is a whole process: what the driver takes to open its store counts.
extension ScenarioBuilder {
    func scenarios(_ job: BenchJob, through driver: String) throws(BenchFailure) -> [Scenario] {
        if job == .apply { return [try driverApply(driver)] }
        let store = try DriverStore(driver, home: driverHome, input)
        switch job {
        case .diff: return [try driverDiff(store)]
        case .size: return [try driverSize(store)]
        case .changes: return [try driverChanges(store), try driverChangesOfFew(store)]
        default:
            throw BenchFailure(
                .usage,
                "\(job.rawValue) is not done by drivers: \(BenchJob.ofDrivers.map(\.rawValue).joined(separator: ", "))")
        }
    }

    private func scenario(_ title: String, _ contenders: [Contender]) -> Scenario {
        Scenario(
            title: title, entries: input.summary.entries, bytes: input.summary.bytes, contenders: contenders,
            expected: input.summary)
    }

    private func engine(
        _ check: Contender.Check, _ prepare: [Pipeline], _ pipeline: @escaping (String) -> Pipeline
    ) -> Contender {
        var contender = Contender(.own, "ldiff, the engine alone", check, pipeline)
        contender.prepare = { _ in prepare }
        return contender
    }

    private func through(
        _ name: String, _ check: Contender.Check, _ prepare: [Pipeline], _ pipeline: @escaping (String) -> Pipeline
    ) -> Contender {
        var contender = Contender(.driver, name, check, pipeline)
        contender.prepare = { _ in prepare }
        return contender
    }

    private func driverDiff(_ store: DriverStore) throws(BenchFailure) -> Scenario {
        let (program, place) = (program, try store.place(of: DriverStore.base))
        return scenario(
            "\(input.label), a whole layer",
            [
                engine(.layer, place.prepare) { _ in
                    Pipeline([program, "diff", place.directory, "-o", "-", "--json"] + place.flags)
                },
                through("through \(store.driver)", .layer, store.unmounted) { _ in
                    store.layer("diff", DriverStore.base, "-o", "-", "--json")
                },
            ]
                + peer(.docker, .layer) { peer, _ in Pipeline([peer, "diff", place.directory]) })
    }

    private func driverSize(_ store: DriverStore) throws(BenchFailure) -> Scenario {
        let (program, place) = (program, try store.place(of: DriverStore.base))
        let check = Contender.Check.number([input.summary.uniqueBytes])
        let size = store.layer("size", DriverStore.base)
        return scenario(
            "\(input.label), a whole layer",
            [
                engine(check, place.prepare) { _ in Pipeline([program, "size", place.directory] + place.flags) },
                // Whoever touches a layer makes its record void.
                through(
                    "through \(store.driver), walked", check, store.unmounted + [Pipeline(["touch", place.directory])]
                ) {
                    _ in size
                },
                through("through \(store.driver), recorded", check, store.unmounted + [size]) { _ in size },
            ]
                + peer(.docker, check) { peer, _ in Pipeline([peer, "size", place.directory]) })
    }

    private func driverChanges(_ store: DriverStore) throws(BenchFailure) -> Scenario {
        let (program, place, entries) = (program, try store.place(of: DriverStore.base), input.summary.entries)
        return scenario(
            "\(input.label), a whole layer",
            [
                engine(.lines(entries), place.prepare) { _ in
                    Pipeline([program, "changes", place.directory] + place.flags)
                },
                through("through \(store.driver)", .lines(entries), store.unmounted) { _ in
                    store.layer("changes", DriverStore.base)
                },
            ]
                + peer(.docker, .lines(entries)) { peer, _ in Pipeline([peer, "changes", place.directory]) })
    }

    /// A container's layer, which Docker compares by walking both merged trees. Its mounts are made before its clock runs.
    private func driverChangesOfFew(_ store: DriverStore) throws(BenchFailure) -> Scenario {
        let (program, place) = (program, try store.place(of: DriverStore.changed))
        let merged = try store.mergedTrees()
        for preparation in place.prepare { _ = try preparation.run() }
        let said = try Pipeline([program, "changes", place.directory] + place.flags).run(sink: .memory).output
        let check = Contender.Check.lines(UInt64(said.count { $0 == UInt8(ascii: "\n") }))
        var result = scenario(
            "\(input.label), 100 files changed",
            [
                engine(check, place.prepare) { _ in Pipeline([program, "changes", place.directory] + place.flags) },
                through("through \(store.driver)", check, store.unmounted) { _ in
                    store.layer("changes", DriverStore.changed)
                },
            ]
                + peer(.docker, "Docker 20.10, both trees", check) { peer, _ in
                    Pipeline([peer, "changes", merged.changed, merged.base])
                }.map { contender in
                    var contender = contender
                    contender.prepare = { _ in merged.prepare }
                    return contender
                })
        result.runFactor = 2
        return result
    }

    private func driverApply(_ driver: String) throws(BenchFailure) -> Scenario {
        let (program, layer) = (program, try input.layer())
        guard let contents = DriverStore.contents(driver) else {
            throw BenchFailure(.unavailable, "\(driver) unpacks into its own file system, not into a fresh ext4")
        }
        var own = through("through \(driver)", .tree, []) {
            Pipeline([
                program, "layer", "apply", DriverStore.base, layer, "--driver", driver, "--home", $0 + "/" + driver,
                "--json",
            ])
        }
        own.filled = { $0 + contents }
        return scenario(
            "\(input.label), a base layer",
            [engine(.tree, []) { Pipeline([program, "apply", layer, $0, "--json"]) }, own]
                + peer(.docker, .tree) { Pipeline([$0, "apply", $1], input: layer) })
    }
}
