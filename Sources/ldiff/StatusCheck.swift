import Glibc
import LayerModel
import LayerPipeline
import PlainJSON

/// `ldiff status --check`: what keeps the daemons from their work.
struct StatusCheck {
    let address: PathArgument?
    /// Where daemons listen by themselves.
    let standard: [String]
    let global: GlobalOptions

    /// A daemon, and what it or its silence says.
    private struct Checked {
        var address: String
        var program = ""
        var version = ""
        var troubles: [String]
    }

    func run() throws {
        let addresses: [String] =
            address.map { [String(decoding: $0.path.bytes, as: UTF8.self)] }
            // A socket that nobody made is a daemon that nobody wants here.
            ?? standard.filter { access($0, F_OK) == 0 }
        let checked = addresses.map(Self.check)
        let output = try OutputFile.standardOutput()
        let isWell = !checked.isEmpty && checked.allSatisfy(\.troubles.isEmpty)
        if global.json {
            try output.writeText(json(checked, isWell).text + "\n")
        } else if checked.isEmpty {
            try output.writeText("no daemon: there is neither \(standard.joined(separator: " nor "))\n")
        } else {
            try output.writeText(checked.flatMap(lines).joined())
        }
        if !isWell { throw SilentExit(status: .unavailable) }
    }

    private static func check(_ address: String) -> Checked {
        do throws(LayerError) {
            let metrics = DaemonMetrics(try MetricsClient.metrics(of: address))
            var troubles = try MetricsClient.troubles(of: address)
            // The metrics have a socket and a thread of their own: calls come in at the other.
            if let silence = MetricsClient.refusal(of: address) { troubles.insert(silence, at: 0) }
            return Checked(
                address: address, program: metrics.program, version: metrics.version, troubles: troubles)
        } catch {
            return Checked(address: address, troubles: [error.description])
        }
    }

    private func lines(_ checked: Checked) -> [String] {
        if !checked.troubles.isEmpty {
            return checked.troubles.map { RawArguments.oneLine("\(checked.address): \($0)") + "\n" }
        }
        guard !global.quiet else { return [] }
        return [RawArguments.oneLine("\(checked.address): \(checked.program) \(checked.version) is well") + "\n"]
    }

    private func json(_ checked: [Checked], _ isWell: Bool) -> JSONObject {
        var object = JSONObject()
        object.add("healthy", isWell)
        object.add(
            "daemons",
            checked.map { checked in
                var item = JSONObject()
                item.add("address", checked.address)
                if !checked.program.isEmpty {
                    item.add("program", checked.program)
                    item.add("version", checked.version)
                }
                item.add("healthy", checked.troubles.isEmpty)
                item.add("troubles", checked.troubles)
                return item
            })
        return object
    }
}
