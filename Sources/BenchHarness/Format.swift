/// Numbers as people read them, in tables and plots.
enum Format {
    /// `0.300 s`, `12.30 ms`, `87 µs`.
    static func seconds(_ value: Double) -> String {
        if value > 0, value < 0.001 { return fixed(value * 1_000_000, 0) + " µs" }
        if value >= 100 { return fixed(value, 1) + " s" }
        return value >= 0.1 ? fixed(value, 3) + " s" : fixed(value * 1000, 2) + " ms"
    }

    /// `1.36 GB`: powers of 1000.
    static func bytes(_ count: UInt64) -> String {
        var value = Double(count)
        var unit = 0
        let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"]
        while value >= 999.5, unit < units.count - 1 {
            value /= 1000
            unit += 1
        }
        return (unit == 0 ? count.description : fixed(value, value < 10 ? 2 : value < 100 ? 1 : 0)) + " " + units[unit]
    }

    /// `83,731`.
    static func count(_ number: UInt64) -> String {
        var text = ""
        for (index, digit) in number.description.reversed().enumerated() {
            if index > 0, index % 3 == 0 { text.append(",") }
            text.append(digit)
        }
        return String(text.reversed())
    }

    /// With a fixed number of decimals, rounded.
    static func fixed(_ value: Double, _ decimals: Int) -> String {
        guard value.isFinite else { return value.isNaN ? "nan" : value < 0 ? "-inf" : "inf" }
        var scale = 1.0
        for _ in 0..<decimals { scale *= 10 }
        let scaled = (abs(value) * scale).rounded()
        guard scaled < 1e18 else { return value.description }
        let whole = UInt64(scaled / scale)
        let sign = value < 0 && scaled > 0 ? "-" : ""
        guard decimals > 0 else { return sign + UInt64(scaled).description }
        let fraction = (UInt64(scaled) - whole * UInt64(scale)).description
        return sign + "\(whole)." + String(repeating: "0", count: decimals - fraction.count) + fraction
    }

    /// As few decimals as it needs: `4`, `3.5`, `1.25`.
    static func plain(_ value: Double) -> String {
        var text = fixed(value, 2)
        while text.hasSuffix("0") { text.removeLast() }
        if text.hasSuffix(".") { text.removeLast() }
        return text
    }
}
