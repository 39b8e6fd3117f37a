import LayerModel

/// Instants as an index writes them (RFC 3339), in UTC.
enum IndexTime {
    /// The years 1 to 9999, in seconds since 1970.
    static let range: ClosedRange<Int64> = -62_135_596_800...253_402_300_799

    /// Appends the text of an instant of the range, with as many digits of the second as it takes.
    static func append(_ seconds: Int64, _ nanoseconds: Int32, to text: inout [UInt8]) {
        let days = seconds >= 0 ? seconds / 86_400 : (seconds - 86_399) / 86_400
        let second = Int(seconds - days * 86_400)
        let (year, month, day) = date(days)
        digits(year, 4, &text)
        text.append(UInt8(ascii: "-"))
        digits(month, 2, &text)
        text.append(UInt8(ascii: "-"))
        digits(day, 2, &text)
        text.append(UInt8(ascii: "T"))
        digits(second / 3600, 2, &text)
        text.append(UInt8(ascii: ":"))
        digits(second / 60 % 60, 2, &text)
        text.append(UInt8(ascii: ":"))
        digits(second % 60, 2, &text)
        if nanoseconds > 0 {
            text.append(UInt8(ascii: "."))
            digits(Int(nanoseconds), 9, &text)
            while text.last == UInt8(ascii: "0") { text.removeLast() }
        }
        text.append(UInt8(ascii: "Z"))
    }

    /// Reads an instant, with any offset from UTC; nil for what is none.
    static func parse(_ text: RawSpan) -> (seconds: Int64, nanoseconds: Int32)? {
        guard text.byteCount >= 20, text[4] == UInt8(ascii: "-"), text[7] == UInt8(ascii: "-"),
            text[10] | 0x20 == UInt8(ascii: "t"), text[13] == UInt8(ascii: ":"), text[16] == UInt8(ascii: ":"),
            let year = number(text, 0, 4), let month = number(text, 5, 2), let day = number(text, 8, 2),
            let hour = number(text, 11, 2), let minute = number(text, 14, 2), let second = number(text, 17, 2),
            (1...12).contains(month), day >= 1, day <= length(month, year), hour < 24, minute < 60, second < 60
        else { return nil }
        var at = 19
        var nanoseconds = 0
        if text[at] == UInt8(ascii: ".") {
            at += 1
            var unit = 100_000_000
            let start = at
            while at < text.byteCount, (0x30...0x39).contains(text[at]) {
                nanoseconds += Int(text[at] - 0x30) * unit
                unit /= 10
                at += 1
            }
            guard at > start, at - start <= 9 else { return nil }
        }
        guard let offset = offset(text, at) else { return nil }
        let days = days(year, month, day)
        return (days * 86_400 + Int64(hour * 3600 + minute * 60 + second) - offset, Int32(nanoseconds))
    }

    /// `Z`, or hours and minutes by which the text's clock is ahead of UTC.
    private static func offset(_ text: RawSpan, _ at: Int) -> Int64? {
        guard at < text.byteCount else { return nil }
        if text[at] | 0x20 == UInt8(ascii: "z") { return at + 1 == text.byteCount ? 0 : nil }
        guard at + 6 == text.byteCount, text[at] == UInt8(ascii: "+") || text[at] == UInt8(ascii: "-"),
            text[at + 3] == UInt8(ascii: ":"), let hours = number(text, at + 1, 2), hours < 24,
            let minutes = number(text, at + 4, 2), minutes < 60
        else { return nil }
        let seconds = Int64(hours * 3600 + minutes * 60)
        return text[at] == UInt8(ascii: "-") ? -seconds : seconds
    }

    private static func number(_ text: RawSpan, _ start: Int, _ count: Int) -> Int? {
        var value = 0
        for index in start..<start + count {
            guard (0x30...0x39).contains(text[index]) else { return nil }
            value = value * 10 + Int(text[index] - 0x30)
        }
        return value
    }

    private static func digits(_ value: Int, _ count: Int, _ text: inout [UInt8]) {
        var divisor = 1
        for _ in 1..<count { divisor *= 10 }
        while divisor > 0 {
            text.append(UInt8(ascii: "0") + UInt8(value / divisor % 10))
            divisor /= 10
        }
    }

    private static func length(_ month: Int, _ year: Int) -> Int {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    /// Days since 1970 of a date: years begin in March, so that the day of a leap year comes last.
    private static func days(_ year: Int, _ month: Int, _ day: Int) -> Int64 {
        let shifted = month <= 2 ? year - 1 : year
        let century = (shifted >= 0 ? shifted : shifted - 399) / 400
        let yearOfCentury = shifted - century * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        return Int64(century * 146_097 + yearOfCentury * 365 + yearOfCentury / 4 - yearOfCentury / 100 + dayOfYear)
            - 719_468
    }

    private static func date(_ days: Int64) -> (year: Int, month: Int, day: Int) {
        let shifted = Int(days) + 719_468
        let century = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let day = shifted - century * 146_097
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365
        let dayOfYear = day - (365 * year + year / 4 - year / 100)
        let month = (5 * dayOfYear + 2) / 153
        let real = month < 10 ? month + 3 : month - 9
        return (year + century * 400 + (real <= 2 ? 1 : 0), real, dayOfYear - (153 * month + 2) / 5 + 1)
    }
}
