import Glibc
import LayerModel
import Logging

/// Logs one line an event to standard error: time, level, text, then `key=value` for each piece of metadata.
///
/// Under systemd's journal (`JOURNAL_STREAM` names our standard error) the time is left to the journal and the level is
/// written as it reads it, see sd-daemon(3).
///
/// What clients do must not fill a disk: texts are cut, and lines that come too fast are left out (`LogPace`), but for those
/// of debugging, which somebody asked for.
package struct LineLogHandler: LogHandler {
    package var metadata: Logger.Metadata = [:]
    package var metadataProvider: Logger.MetadataProvider?
    package var logLevel: Logger.Level
    private let forJournal: Bool

    /// Bytes of a line's text and of each value, at most: every message of our own fits.
    private static let longestText = 1024
    private static let paces: [Logger.Level: LogPace] = [
        .info: LogPace(burst: 500, perSecond: 2), .warning: LogPace(burst: 500, perSecond: 2),
        .error: LogPace(burst: 500, perSecond: 2),
    ]

    /// Has every logger of the process write such lines, from `level` on. Called once, before the first logger is made.
    package static func install(level: Logger.Level) {
        let forJournal = standardErrorIsJournal()
        LoggingSystem.bootstrap { _ in LineLogHandler(logLevel: level, forJournal: forJournal) }
    }

    private init(logLevel: Logger.Level, forJournal: Bool) {
        self.logLevel = logLevel
        self.forJournal = forJournal
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        var leftOut = 0
        if let pace = Self.paces[event.level] {
            guard let before = pace.admit() else { return }
            leftOut = before
        }
        var line = forJournal ? "<\(Self.priority(event.level))>" : "\(Self.time()) \(event.level.rawValue): "
        line += Self.oneLine(event.message.description)
        let all = metadata.merging(metadataProvider?.get() ?? [:]) { $1 }.merging(event.metadata ?? [:]) { $1 }
        for (key, value) in all.sorted(by: { $0.key < $1.key }) {
            line += " \(key)=\(Self.quoted(value.description))"
        }
        if let error = event.error { line += " error=\(Self.quoted("\(error)"))" }
        if leftOut > 0 { line += " lines-left-out-before=\(leftOut)" }
        line += "\n"
        Self.write(line)
    }

    /// A value that ends where the next begins.
    private static func quoted(_ text: String) -> String {
        let text = oneLine(text)
        guard text.isEmpty || text.contains(where: { " \"=".contains($0) }) else { return text }
        var result = "\""
        for character in text {
            if character == "\"" || character == "\\" { result.append("\\") }
            result.append(character)
        }
        return result + "\""
    }

    private static func oneLine(_ text: String) -> String {
        let isLong = text.utf8.count > longestText
        // In the middle of a character: the rest of it becomes a replacement.
        let text = isLong ? String(decoding: text.utf8.prefix(longestText), as: UTF8.self) : text
        return String(text.map { $0.isNewline ? " " : $0 }) + (isLong ? "..." : "")
    }

    private static func priority(_ level: Logger.Level) -> Int {
        switch level {
        case .critical: 2
        case .error: 3
        case .warning: 4
        case .notice: 5
        case .info: 6
        case .debug, .trace: 7
        }
    }

    /// `2026-11-21T14:35:07.123Z`.
    private static func time() -> String {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        var parts = tm()
        gmtime_r(&now.tv_sec, &parts)
        func digits(_ number: Int, _ count: Int) -> String {
            let text = number.description
            return String(repeating: "0", count: max(0, count - text.count)) + text
        }
        let (year, month, day) = (Int(parts.tm_year) + 1900, Int(parts.tm_mon) + 1, Int(parts.tm_mday))
        return "\(digits(year, 4))-\(digits(month, 2))-\(digits(day, 2))T\(digits(Int(parts.tm_hour), 2)):"
            + "\(digits(Int(parts.tm_min), 2)):\(digits(Int(parts.tm_sec), 2)).\(digits(now.tv_nsec / 1_000_000, 3))Z"
    }

    private static func standardErrorIsJournal() -> Bool {
        guard let value = getenv("JOURNAL_STREAM").map({ String(cString: $0) }) else { return false }
        var status = stat()
        return fstat(2, &status) == 0 && value == "\(status.st_dev):\(status.st_ino)"
    }

    /// One write, so that lines of different threads do not mix.
    private static func write(_ line: String) {
        var line = line
        line.withUTF8 { bytes in
            var done = 0
            while done < bytes.count {
                let count = Glibc.write(2, bytes.baseAddress.map { $0 + done }, bytes.count - done)
                if count < 0, errno == EINTR { continue }
                if count <= 0 { return }
                done += count
            }
        }
    }
}

extension Logger.Level {
    /// The names that `--log-level` takes.
    package static let names = allCases.map(\.rawValue)
}
