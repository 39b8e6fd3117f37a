import Glibc

/// Plots as SVG that stands inside an HTML page and takes its colours from the page's style.
enum SVGPlot {
    static func escaped(_ text: String) -> String {
        var result = ""
        for character in text {
            switch character {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            default: result.append(character)
            }
        }
        return result
    }

    static func number(_ value: Double) -> String { Format.fixed(value, 1) }

    /// One bar.
    struct Bar {
        var label: String
        var value: Double
        /// Each run, drawn as a dot.
        var runs: [Double] = []
        /// Where the true median lies, drawn as a whisker.
        var interval: ClosedRange<Double>?
        /// What stands behind the bar, `0.300 s`.
        var text: String
        /// `own`, `peer` or `floor`.
        var style: String
    }

    /// So narrow that text is as large as a page's where that has 400 pixels; wider ones enlarge it.
    static let width = 440.0
    private static let shownWidth = 640

    /// Horizontal bars from zero, one below the other.
    static func bars(_ bars: [Bar], title: String) -> String {
        let (left, right, height) = (142.0, 118.0, 24.0)
        let span = width - left - right
        let most = bars.map { max($0.value, $0.runs.max() ?? 0) }.max() ?? 0
        guard most > 0 else { return "" }
        let place = { (value: Double) in left + value / most * span }
        var svg = open(title, width, height * Double(bars.count) + 8)
        for (index, bar) in bars.enumerated() {
            let top = height * Double(index) + 6
            let middle = top + (height - 6) / 2
            svg += "<g class=\"\(bar.style)\"><title>\(escaped(bar.label)): \(escaped(bar.text))</title>"
            svg += text(shortened(bar.label), left - 7, middle + 4, "label", anchor: "end")
            svg += "<rect class=\"bar\" x=\"\(number(left))\" y=\"\(number(top))\" "
            svg += "width=\"\(number(max(1, bar.value / most * span)))\" height=\"\(number(height - 6))\" rx=\"2\"/>"
            svg += marks(bar.runs, bar.interval, middle, place)
            let end = place(max(bar.value, bar.runs.max() ?? 0))
            svg += text(bar.text, end + 8, middle + 4, "value") + "</g>\n"
        }
        return svg + "</svg>\n"
    }

    /// A dot for each run, and the whisker; nothing for a single run, which the bar shows.
    static func marks(
        _ runs: [Double], _ interval: ClosedRange<Double>?, _ middle: Double, _ place: (Double) -> Double
    ) -> String {
        guard runs.count > 1 else { return "" }
        // Lines without length, whose round ends are the dots.
        let dots = runs.map { "M\(number(place($0))) \(number(middle))h0" }.joined()
        var svg = "<path class=\"dots\" d=\"\(dots)\"/>"
        guard let interval, place(interval.upperBound) - place(interval.lowerBound) >= 1 else { return svg }
        let (low, high) = (number(place(interval.lowerBound)), number(place(interval.upperBound)))
        let top = number(middle - 4)
        svg += "<path class=\"whisker\" d=\"M\(low) \(top)v8M\(low) \(number(middle))H\(high)M\(high) \(top)v8\"/>"
        return svg
    }

    /// As much of a name as there is room for.
    static func shortened(_ name: String) -> String { name.count <= 22 ? name : name.prefix(21) + "…" }

    /// One line of a plot.
    struct Line {
        var label: String
        var points: [(x: Double, y: Double)]
        /// Its colour, from 0.
        var style: Int
    }

    /// Lines over two logarithmic axes.
    static func lines(_ lines: [Line], title: String, xTitle: String, yTitle: String, yText: (Double) -> String)
        -> String
    {
        let all = lines.flatMap(\.points).filter { $0.x > 0 && $0.y > 0 }
        guard let left = all.map(\.x).min(), let right = all.map(\.x).max(), right > left else { return "" }
        guard let low = all.map(\.y).min(), let high = all.map(\.y).max() else { return "" }
        let frame = Frame(x: axis(left, right), y: axis(low, high))
        let shown = lines.filter { !$0.points.isEmpty }
        var svg = open(title, width, Frame.height + Double(shown.count) * 18)
        for tick in frame.y.ticks {
            let y = frame.y(tick)
            svg += "<path class=\"grid\" d=\"M\(number(Frame.left)) \(number(y))H\(number(Frame.right))\"/>"
            svg += text(yText(tick), Frame.left - 8, y + 4, "tick", anchor: "end")
        }
        for tick in frame.x.ticks {
            svg += "<path class=\"grid\" d=\"M\(number(frame.x(tick))) \(number(Frame.top))V\(number(Frame.bottom))\"/>"
            svg += text(Format.count(UInt64(tick)), frame.x(tick), Frame.bottom + 18, "tick", anchor: "middle")
        }
        svg += text(xTitle, (Frame.left + Frame.right) / 2, Frame.height - 6, "axis", anchor: "middle")
        svg += text(yTitle, Frame.left, Frame.top - 10, "axis", anchor: "start") + "\n"
        for (index, line) in shown.enumerated() {
            let points = line.points.map { (frame.x($0.x), frame.y($0.y)) }
            let path = points.map { "\(number($0.0)) \(number($0.1))" }.joined(separator: "L")
            svg += "<g class=\"line c\(line.style)\"><title>\(escaped(line.label))</title><path d=\"M\(path)\"/>"
            for point in points { svg += "<circle cx=\"\(number(point.0))\" cy=\"\(number(point.1))\" r=\"3\"/>" }
            // What is which, below.
            let y = Frame.height + 10 + Double(index) * 18
            svg += "<path d=\"M\(number(Frame.left)) \(number(y - 4))h18\"/>"
            svg += text(line.label, Frame.left + 26, y, "label") + "</g>\n"
        }
        return svg + "</svg>\n"
    }

    private struct Axis {
        var low: Double
        var high: Double
        var ticks: [Double]
    }

    private struct Frame {
        static let (height, left, right, top, bottom) = (286.0, 78.0, 430.0, 30.0, 236.0)
        var xAxis: Axis
        var yAxis: Axis
        init(x: Axis, y: Axis) { (xAxis, yAxis) = (x, y) }

        struct Scale {
            var axis: Axis
            var from: Double
            var to: Double
            var ticks: [Double] { axis.ticks }
            func callAsFunction(_ value: Double) -> Double {
                from + (log2(value) - log2(axis.low)) / (log2(axis.high) - log2(axis.low)) * (to - from)
            }
        }
        var x: Scale { Scale(axis: xAxis, from: Self.left + 12, to: Self.right - 12) }
        var y: Scale { Scale(axis: yAxis, from: Self.bottom - 8, to: Self.top + 8) }
    }

    /// Ticks at 1, 2 and 5 times powers of ten, at powers only where that makes too many.
    private static func axis(_ low: Double, _ high: Double) -> Axis {
        var ticks: [Double] = []
        var power = 1e-9
        while power <= high * 10 {
            ticks += [1, 2, 5].map { $0 * power }.filter { $0 >= low * 0.999 && $0 <= high * 1.001 }
            power *= 10
        }
        if ticks.count > 8 {
            ticks = ticks.filter { tick in
                let log = log2(tick) / log2(10)
                return abs(log - log.rounded()) < 0.01
            }
        }
        if ticks.isEmpty { ticks = [low] }
        return high > low ? Axis(low: low, high: high, ticks: ticks) : Axis(low: low / 2, high: high * 2, ticks: [low])
    }

    private static func open(_ title: String, _ width: Double, _ height: Double) -> String {
        let (wide, high) = (Int(width), Int(height.rounded(.up)))
        return
            "<svg role=\"img\" aria-label=\"\(escaped(title))\" viewBox=\"0 0 \(wide) \(high)\" width=\"\(shownWidth)\" height=\"\(high * shownWidth / wide)\">\n"
    }

    private static func text(_ text: String, _ x: Double, _ y: Double, _ style: String, anchor: String = "start")
        -> String
    {
        "<text class=\"\(style)\" x=\"\(number(x))\" y=\"\(number(y))\" text-anchor=\"\(anchor)\">\(escaped(text))</text>"
    }
}
