import Glibc
import Synchronization

/// Names that no other process and no other run gives.
enum UniqueName {
    private static let counter = Atomic<UInt64>(0)

    static func next() -> String {
        let number = counter.add(1, ordering: .relaxed).newValue
        return "\(getpid())-\(number)-\(String(UInt64.random(in: .min ... .max), radix: 16))"
    }
}

/// Times as RFC 3339 writes them.
enum Timestamps {
    /// `2026-11-21T15:04:05Z`.
    static func text(secondsSince1970 seconds: Int64) -> String {
        var seconds = time_t(seconds)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        func two(_ number: Int32) -> String { (number < 10 ? "0" : "") + String(number) }
        let date = "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
        return date + "T\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))Z"
    }
}
