import Glibc

/// Text for people; layers and lists take other ways.
enum Console {
    static func error(_ text: String) { write(text, to: STDERR_FILENO) }
    static func output(_ text: String) { write(text, to: STDOUT_FILENO) }

    static func isTerminal(_ descriptor: Int32) -> Bool { isatty(descriptor) == 1 }

    /// Columns of the terminal on standard error.
    static var columns: Int {
        var size = winsize()
        guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return Int(size.ws_col)
    }

    private static func write(_ text: String, to descriptor: Int32) {
        var text = text
        text.withUTF8 { bytes in
            var done = 0
            while done < bytes.count {
                let count = Glibc.write(descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done)
                if count < 0, errno == EINTR { continue }
                if count <= 0 { return }
                done += count
            }
        }
    }
}

/// Numbers as people read them.
enum Human {
    /// `1.36 GB`: powers of 1000, three digits.
    static func bytes(_ count: UInt64) -> String {
        let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"]
        var value = Double(count)
        var unit = 0
        while value >= 999.5, unit < units.count - 1 {
            value /= 1000
            unit += 1
        }
        return (unit == 0 ? count.description : threeDigits(value)) + " " + units[unit]
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

    /// `83,731 entries`.
    static func entries(_ number: UInt64) -> String { count(number) + (number == 1 ? " entry" : " entries") }

    /// `12.3 ms`, `0.35 s`, `2 min 5 s`.
    static func seconds(_ seconds: Double) -> String {
        if seconds >= 60 {
            let whole = Int(seconds.rounded())
            return "\(whole / 60) min \(whole % 60) s"
        }
        return seconds < 0.0995 ? threeDigits(seconds * 1000) + " ms" : threeDigits(seconds) + " s"
    }

    /// `510 MB`, `1.4 GB`: of a number with two digits that say something.
    static func roughBytes(_ count: UInt64) -> String {
        let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"]
        var (value, unit) = (count, 0)
        while value >= 10_000, unit < units.count - 2 {
            value /= 1000
            unit += 1
        }
        guard value >= 1000 else { return "\(value) \(units[unit])" }
        let tenths = value / 100
        return "\(tenths / 10).\(tenths % 10) \(units[unit + 1])"
    }

    /// `8 s`, `2 min`, `3 h`: about so long.
    static func roughSeconds(_ seconds: UInt64) -> String {
        if seconds < 100 { return "\(seconds) s" }
        return seconds < 100 * 60 ? "\((seconds + 30) / 60) min" : "\((seconds + 1800) / 3600) h"
    }

    /// Three digits that say something: `1.36`, `13.6`, `136`.
    static func threeDigits(_ value: Double) -> String {
        let decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0
        let scale: Double = decimals == 2 ? 100 : decimals == 1 ? 10 : 1
        let scaled = UInt64((value * scale).rounded())
        guard decimals > 0 else { return scaled.description }
        let fraction = (scaled % UInt64(scale)).description
        return (scaled / UInt64(scale)).description + "."
            + String(repeating: "0", count: decimals - fraction.count) + fraction
    }
}
