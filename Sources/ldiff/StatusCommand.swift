import ArgumentParser
import Glibc
import LayerModel
import LayerPipeline
import PlainJSON

/// `ldiff status`: how a daemon does.
struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Shows what a daemon of ldiff does: its driver, calls, errors and latencies.",
        discussion: """
            The daemons are docker-ldiff-graphdriver and containerd-ldiff-grpc. --address is the socket that Docker or \
            containerd use; the counters come from metrics.sock beside it, in Prometheus's text form. Without it every \
            daemon is shown that listens where it does by itself.

            P50 and P99 are upper bounds: that part of the calls took no longer.

            --check tells whether the daemons do their work: each answers, its store can be looked at within two seconds, is the \
            directory that it was, and its file system can be written to and is not full. A line for each trouble goes to \
            standard output. EXIT STATUS: 0 all is well, 69 there is a trouble, or no daemon at all.

            EXAMPLES:
              ldiff status
              ldiff status --address /run/docker/plugins/ldiff.sock --json
              ldiff status --check --quiet || journalctl -u docker-ldiff-graphdriver
              curl --unix-socket /run/ldiff/docker-metrics.sock http://localhost/metrics
            """)

    @Option(
        help: ArgumentHelp("The daemon's socket.", valueName: "socket"),
        completion: .file())
    var address: PathArgument?

    @Flag(help: "Only tell what keeps the daemons from their work: status 0 nothing, 69 something.")
    var check = false

    @OptionGroup(title: "Global options") var global: GlobalOptions

    /// Where the daemons listen unless they are told otherwise.
    private static let standard = ["/run/docker/plugins/ldiff.sock", "/run/containerd-ldiff/containerd-ldiff.sock"]

    func run() throws {
        if check { return try StatusCheck(address: address, standard: Self.standard, global: global).run() }
        let found: [(address: String, metrics: DaemonMetrics)]
        if let address {
            let text = String(decoding: address.path.bytes, as: UTF8.self)
            found = [(text, DaemonMetrics(try MetricsClient.metrics(of: text)))]
        } else {
            found = Self.standard.compactMap { place in
                (try? MetricsClient.metrics(of: place)).map { (place, DaemonMetrics($0)) }
            }
        }
        guard !found.isEmpty else {
            throw LayerError(
                .notFound, "ask the daemons",
                cause: .reason("none listens at \(Self.standard.joined(separator: " or "))"),
                hint: "name the socket with --address")
        }
        let output = try OutputFile.standardOutput()
        guard global.json else {
            return try output.writeText(found.map { table($0.metrics, $0.address) }.joined(separator: "\n"))
        }
        var object = JSONObject()
        object.add("daemons", found.map { json($0.metrics, $0.address) })
        try output.writeText(object.text + "\n")
    }

    private func uptime(_ metrics: DaemonMetrics) -> UInt64 {
        let now = UInt64(max(0, time(nil)))
        return metrics.startTime == 0 || now < metrics.startTime ? 0 : now - metrics.startTime
    }

    private func json(_ metrics: DaemonMetrics, _ address: String) -> JSONObject {
        var object = JSONObject()
        object.add("program", metrics.program)
        object.add("version", metrics.version)
        object.add("drivers", metrics.drivers)
        object.add("address", address)
        object.add("uptimeSeconds", uptime(metrics))
        object.add("callsRunning", metrics.running)
        object.add("bytesIn", metrics.bytesIn)
        object.add("bytesOut", metrics.bytesOut)
        let calls = metrics.calls.sorted { $0.key < $1.key }.map { name, call in
            var item = JSONObject()
            item.add("call", name)
            item.add("count", call.count)
            item.add("errors", call.errors)
            if call.count > 0 { item.add("meanSeconds", seconds: call.seconds / Double(call.count)) }
            if let bound = call.quantile(0.5) { item.add("p50Seconds", seconds: bound) }
            if let bound = call.quantile(0.99) { item.add("p99Seconds", seconds: bound) }
            return item
        }
        object.add("calls", calls)
        return object
    }

    private func table(_ metrics: DaemonMetrics, _ address: String) -> String {
        let facts = [
            ("Daemon:", "\(metrics.program) \(metrics.version)"), ("Driver:", metrics.drivers.joined(separator: ", ")),
            ("Address:", address), ("Up:", Human.seconds(Double(uptime(metrics)))),
            ("Running:", "\(metrics.running) calls"),
            ("Layers:", "\(Human.bytes(metrics.bytesIn)) in, \(Human.bytes(metrics.bytesOut)) out"),
        ]
        var text = facts.map { name, value in pad(name, 10) + RawArguments.oneLine(value) + "\n" }.joined()
        var rows = [["CALL", "COUNT", "ERRORS", "MEAN", "P50", "P99"]]
        for (name, call) in metrics.calls.sorted(by: { $0.key < $1.key }) where call.count > 0 {
            rows.append([
                name, Human.count(call.count), Human.count(call.errors),
                Human.seconds(call.seconds / Double(call.count)), bound(call, 0.5), bound(call, 0.99),
            ])
        }
        guard rows.count > 1 else { return text + "\nno calls yet\n" }
        let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        text += "\n"
        for row in rows {
            let cells = row.enumerated().map { column, cell in
                column == 0 ? pad(cell, widths[0]) : String(repeating: " ", count: widths[column] - cell.count) + cell
            }
            text += cells.joined(separator: "  ") + "\n"
        }
        return text
    }

    private func bound(_ call: DaemonMetrics.Call, _ share: Double) -> String {
        call.quantile(share).map { "≤ " + Human.seconds($0) } ?? "longer"
    }

    private func pad(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }
}
