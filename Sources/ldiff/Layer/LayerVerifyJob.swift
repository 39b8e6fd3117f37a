import LayerDrivers
import LayerModel
import LayerPipeline
import LinuxIO
import PlainJSON

/// `ldiff layer check --verify`.
struct LayerVerifyJob {
    let ids: [LayerArgument]
    let store: StoreArguments
    let global: GlobalOptions

    func run() throws {
        let stopwatch = Stopwatch()
        let (interruption, progress) = (Interruption(), Progress())
        Interrupts.watch(interruption)
        let reader = try store.read(global)
        let job = try StoreVerification(reader, only: try ids.map { (id) throws(LayerError) in try id.id() })
        let bar = ProgressBar.start("verify", global, writing: progress)
        defer { bar?.stop() }
        let output = try OutputFile.standardOutput()
        var (bad, bytes, layers): (Int, UInt64, [JSONObject]) = (0, 0, [])
        try job.run(workers: global.workers, interruption: interruption, progress: progress) {
            (layer) throws(LayerError) in
            bytes += layer.bytes
            if !layer.problems.isEmpty { bad += 1 }
            if global.json { layers.append(layer.json) }
            guard !global.json, !layer.problems.isEmpty else { return }
            ProgressBar.clearLine()
            try output.writeText(layer.lines)
        }
        bar?.stop()
        if global.json { try output.writeText(report(job, layers, bad, bytes, stopwatch.seconds).text + "\n") }
        guard bad == 0 else {
            throw LayerError(
                .corruptLayer, "verify", path: reader.configuration.home,
                cause: .reason("\(bad) of \(job.count) layers are not what they were made of"))
        }
        guard !global.json, !global.quiet else { return }
        Console.error(
            "ldiff: proved \(job.count) \(job.count == 1 ? "layer" : "layers"), \(Human.bytes(bytes)) in "
                + Human.seconds(stopwatch.seconds)
                + (job.unproven.isEmpty ? "" : "; of \(job.unproven.count) nothing is known") + "\n")
    }

    private func report(
        _ job: StoreVerification, _ layers: [JSONObject], _ bad: Int, _ bytes: UInt64, _ seconds: Double
    ) -> JSONObject {
        var report = JSONObject()
        report.add("layers", layers)
        report.add("proved", job.count - bad)
        report.add("bad", bad)
        report.add("unproven", job.unproven)
        report.add("bytes", bytes)
        report.add("seconds", seconds: seconds)
        return report
    }
}

extension VerifiedLayer {
    fileprivate var lines: String {
        var text = ""
        for problem in problems { text += "\(id): " + RawArguments.oneLine(problem.description) + "\n" }
        if unnamed > 0 { text += "\(id): and \(unnamed) more files\n" }
        return text
    }

    fileprivate var json: JSONObject {
        var object = JSONObject()
        object.add("id", id)
        if let diffID { object.add("diffID", diffID.description) }
        object.add("bytes", bytes)
        object.add("proved", problems.isEmpty)
        object.add(
            "problems",
            problems.map { problem in
                var item = JSONObject()
                if let path = problem.path { item.add("path", path) }
                item.add("what", problem.description)
                return item
            })
        object.add("unnamed", unnamed)
        return object
    }
}
