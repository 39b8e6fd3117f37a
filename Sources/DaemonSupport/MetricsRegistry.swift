import Glibc
import Metrics
import Synchronization

/// Keeps what the process counts and times, for swift-metrics, and writes it as Prometheus reads it.
///
/// Counters are sums, timers are histograms in seconds, meters and recorders show the last value. Nothing is dropped:
/// labels come from a fixed list in the code, never from a request.
package final class MetricsRegistry: MetricsFactory {
    private struct Key: Hashable {
        var name: String
        var labels: String
    }

    private let values = Mutex<[Key: MetricValue]>([:])

    package init() {}

    package func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        find(label, dimensions, .counter)
    }

    package func makeFloatingPointCounter(label: String, dimensions: [(String, String)])
        -> any FloatingPointCounterHandler
    {
        find(label, dimensions, .counter)
    }

    package func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        find(label, dimensions, .gauge)
    }

    package func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        find(label, dimensions, aggregate ? .histogram : .gauge)
    }

    package func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        find(label, dimensions, .histogram)
    }

    // What was counted stays, also when nobody holds the counter any more.
    package func destroyCounter(_ handler: any CounterHandler) {}
    package func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}
    package func destroyMeter(_ handler: any MeterHandler) {}
    package func destroyRecorder(_ handler: any RecorderHandler) {}
    package func destroyTimer(_ handler: any TimerHandler) {}

    private func find(_ name: String, _ dimensions: [(String, String)], _ kind: MetricValue.Kind) -> MetricValue {
        let key = Key(name: Self.name(name), labels: Self.labels(dimensions))
        return values.withLock { values in
            if let value = values[key], value.kind == kind { return value }
            let value = MetricValue(kind)
            values[key] = value
            return value
        }
    }

    /// All values, in the order of their names (https://prometheus.io/docs/instrumenting/exposition_formats).
    package func text() -> String {
        let all = values.withLock { $0 }.sorted { ($0.key.name, $0.key.labels) < ($1.key.name, $1.key.labels) }
        var text = ""
        var last = ""
        for (key, value) in all {
            if key.name != last { text += "# TYPE \(key.name) \(value.kind.rawValue)\n" }
            last = key.name
            text += value.lines(key.name, key.labels)
        }
        return text
    }

    /// A name of letters, digits and `_`.
    private static func name(_ label: String) -> String {
        String(label.map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "_" })
    }

    private static func labels(_ dimensions: [(String, String)]) -> String {
        dimensions.map { name, value in
            var quoted = ""
            for character in value {
                switch character {
                case "\\": quoted += "\\\\"
                case "\"": quoted += "\\\""
                case "\n": quoted += "\\n"
                default: quoted.append(character)
                }
            }
            return "\(Self.name(name))=\"\(quoted)\""
        }.joined(separator: ",")
    }
}

/// One counter, gauge or histogram.
final class MetricValue: CounterHandler, FloatingPointCounterHandler, MeterHandler, RecorderHandler, TimerHandler {
    enum Kind: String, Sendable {
        case counter
        case gauge
        case histogram
    }

    private struct State {
        var sum = 0.0
        var count: UInt64 = 0
        var buckets = [UInt64](repeating: 0, count: MetricValue.bounds.count)
    }

    /// Upper bounds of the buckets in seconds: a hundred microseconds to five minutes.
    static let bounds = [
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300,
    ]

    let kind: Kind
    private let state = Mutex(State())

    init(_ kind: Kind) { self.kind = kind }

    func increment(by amount: Int64) { state.withLock { $0.sum += Double(amount) } }
    func increment(by amount: Double) { state.withLock { $0.sum += amount } }
    func decrement(by amount: Double) { state.withLock { $0.sum -= amount } }
    func reset() { state.withLock { $0 = State() } }
    func set(_ value: Int64) { state.withLock { $0.sum = Double(value) } }
    func set(_ value: Double) { state.withLock { $0.sum = value } }
    func record(_ value: Int64) { record(Double(value)) }
    func record(_ value: Double) { kind == .gauge ? set(value) : observe(value) }
    func recordNanoseconds(_ duration: Int64) { observe(Double(duration) / 1_000_000_000) }

    private func observe(_ value: Double) {
        state.withLock { state in
            state.sum += value
            state.count += 1
            if let index = Self.bounds.firstIndex(where: { value <= $0 }) { state.buckets[index] += 1 }
        }
    }

    func lines(_ name: String, _ labels: String) -> String {
        let state = state.withLock { $0 }
        func line(_ suffix: String, _ extra: String, _ value: String) -> String {
            let all = [labels, extra].filter { !$0.isEmpty }.joined(separator: ",")
            return name + suffix + (all.isEmpty ? "" : "{\(all)}") + " \(value)\n"
        }
        guard kind == .histogram else { return line("", "", Self.number(state.sum)) }
        var text = ""
        var below: UInt64 = 0
        for (bound, count) in zip(Self.bounds, state.buckets) {
            below += count
            text += line("_bucket", "le=\"\(Self.number(bound))\"", below.description)
        }
        text += line("_bucket", "le=\"+Inf\"", state.count.description)
        return text + line("_sum", "", Self.number(state.sum)) + line("_count", "", state.count.description)
    }

    private static func number(_ value: Double) -> String {
        value == value.rounded() && abs(value) < 1e15 ? Int64(value).description : value.description
    }
}
