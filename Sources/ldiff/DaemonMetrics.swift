/// What a daemon's metrics say, in Prometheus's text form, as far as `ldiff status` shows it.
struct DaemonMetrics {
    /// One call of the daemon's interface.
    struct Call {
        var count: UInt64 = 0
        var errors: UInt64 = 0
        var seconds = 0.0
        /// Upper bounds in seconds, rising, with how many calls took no longer.
        var buckets: [(bound: Double, count: UInt64)] = []

        /// The bound below which `share` of the calls stayed: no more is known; nil beyond the last bound.
        func quantile(_ share: Double) -> Double? {
            buckets.first { Double($0.count) >= share * Double(count) && $0.bound.isFinite }?.bound
        }
    }

    var program = ""
    var version = ""
    var drivers: [String] = []
    var startTime: UInt64 = 0
    var running: UInt64 = 0
    var bytesIn: UInt64 = 0
    var bytesOut: UInt64 = 0
    var calls: [String: Call] = [:]

    init(_ text: String) {
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            guard let cut = line.lastIndex(of: " "), let value = Double(line[line.index(after: cut)...]) else {
                continue
            }
            let series = line[..<cut]
            let name = series.prefix { $0 != "{" }
            add(String(name), Self.labels(series.dropFirst(name.count)), value)
        }
    }

    private mutating func add(_ name: String, _ labels: [String: String], _ value: Double) {
        let call = labels["call"] ?? ""
        let whole = value.isFinite && value >= 0 && value < 1e18 ? UInt64(value) : 0
        switch name {
        case "ldiff_info":
            program = labels["program"] ?? ""
            version = labels["version"] ?? ""
            if let driver = labels["driver"], !driver.isEmpty { drivers.append(driver) }
        case "ldiff_start_time_seconds": startTime = whole
        case "ldiff_calls_running": running = whole
        case "ldiff_stream_bytes_total": if labels["direction"] == "in" { bytesIn = whole } else { bytesOut = whole }
        case "ldiff_call_errors_total": calls[call, default: Call()].errors = whole
        case "ldiff_call_duration_seconds_sum": calls[call, default: Call()].seconds = value
        case "ldiff_call_duration_seconds_count": calls[call, default: Call()].count = whole
        case "ldiff_call_duration_seconds_bucket":
            guard let bound = labels["le"].flatMap({ $0 == "+Inf" ? .infinity : Double($0) }) else { return }
            calls[call, default: Call()].buckets.append((bound, whole))
        default: return
        }
    }

    /// `{a="1",b="2"}` as a dictionary; a backslash takes the next character as it is, but `\n`.
    private static func labels(_ text: Substring) -> [String: String] {
        var labels: [String: String] = [:]
        var rest = text.dropFirst()
        while let equals = rest.firstIndex(of: "=") {
            let name = String(rest[..<equals])
            rest = rest[rest.index(after: equals)...].dropFirst()
            var value = ""
            while let character = rest.popFirst(), character != "\"" {
                guard character == "\\" else {
                    value.append(character)
                    continue
                }
                guard let escaped = rest.popFirst() else { break }
                value.append(escaped == "n" ? "\n" : escaped)
            }
            labels[name] = value
            guard rest.popFirst() == "," else { break }
        }
        return labels
    }
}
