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
        /// The smallest and largest run, drawn as a whisker.
        var range: ClosedRange<Double>?
        /// What stands behind the bar, `0.300 s`.
        var text: String
        /// `own`, `peer` or `floor`.
        var style: String
    }

    /// Horizontal bars from zero, one below the other.
    static func bars(_ bars: [Bar], title: String) -> String {
        let (left, right, height, width) = (210.0, 130.0, 26.0, 820.0)
        let span = width - left - right
        let most = bars.map { max($0.value, $0.range?.upperBound ?? 0) }.max() ?? 0
        guard most > 0 else { return "" }
        var svg = open(title, width, height * Double(bars.count) + 8)
        for (index, bar) in bars.enumerated() {
            let top = height * Double(index) + 6
            let middle = top + (height - 6) / 2
            let length = max(1, bar.value / most * span)
            svg += "<g class=\"\(bar.style)\"><title>\(escaped(bar.label)): \(escaped(bar.text))</title>"
            svg += text(bar.label, left - 8, middle + 4, "label", anchor: "end")
            svg +=
                "<rect class=\"bar\" x=\"\(number(left))\" y=\"\(number(top))\" width=\"\(number(length))\" height=\"\(number(height - 6))\" rx=\"2\"/>"
            var end = left + length
            if let range = bar.range, range.upperBound > range.lowerBound {
                let (from, to) = (left + range.lowerBound / most * span, left + range.upperBound / most * span)
                svg +=
                    "<path class=\"whisker\" d=\"M\(number(from)) \(number(middle - 4))v8M\(number(from)) \(number(middle))H\(number(to))M\(number(to)) \(number(middle - 4))v8\"/>"
                end = max(end, to)
            }
            svg += text(bar.text, end + 8, middle + 4, "value") + "</g>\n"
        }
        return svg + "</svg>\n"
    }

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
        var svg = open(title, Frame.width, Frame.height)
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
        for (index, line) in lines.enumerated() where !line.points.isEmpty {
            let points = line.points.map { (frame.x($0.x), frame.y($0.y)) }
            let path = points.map { "\(number($0.0)) \(number($0.1))" }.joined(separator: "L")
            svg += "<g class=\"line c\(line.style)\"><title>\(escaped(line.label))</title><path d=\"M\(path)\"/>"
            for point in points { svg += "<circle cx=\"\(number(point.0))\" cy=\"\(number(point.1))\" r=\"3\"/>" }
            let y = Frame.top + 14 + Double(index) * 20
            svg += "<path d=\"M\(number(Frame.right + 16)) \(number(y - 4))h18\"/>"
            svg += text(line.label, Frame.right + 40, y, "label") + "</g>\n"
        }
        return svg + "</svg>\n"
    }

    private struct Axis {
        var low: Double
        var high: Double
        var ticks: [Double]
    }

    private struct Frame {
        static let (width, height, left, right, top, bottom) = (820.0, 320.0, 90.0, 610.0, 30.0, 270.0)
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
            "<svg role=\"img\" aria-label=\"\(escaped(title))\" viewBox=\"0 0 \(wide) \(high)\" width=\"\(wide)\" height=\"\(high)\">\n"
    }

    private static func text(_ text: String, _ x: Double, _ y: Double, _ style: String, anchor: String = "start")
        -> String
    {
        "<text class=\"\(style)\" x=\"\(number(x))\" y=\"\(number(y))\" text-anchor=\"\(anchor)\">\(escaped(text))</text>"
    }
}
