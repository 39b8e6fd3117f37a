import LayerModel
import LinuxIO

/// When two versions of a path count as unchanged. Data, so that profiles differ in
/// constants and not in code.
struct EqualityRule: Sendable {
    enum Times: Sendable {
        /// Equal seconds, and equal nanoseconds unless either side has none (Docker).
        case eitherTruncated
        /// Equal seconds and nanoseconds; where both have no nanoseconds, contents decide (containerd).
        case bothTruncatedContent
    }

    var times: Times
    /// When contents decide, besides what `times` says.
    var contents = ContentComparison.never
    var linkTargets = false
    var directoryTimes = false
    var attributes: AttributePolicy
    /// Unchanged files with several names are kept, so that a writer can link to them.
    var keepsUnmodifiedLinks = false

    static let docker = EqualityRule(times: .eitherTruncated, attributes: .capability)
    static let containerd = EqualityRule(
        times: .bothTruncatedContent, linkTargets: true, attributes: .capability, keepsUnmodifiedLinks: true)
    static let cstorage = EqualityRule(
        times: .eitherTruncated, linkTargets: true, directoryTimes: true, attributes: .cstorage)
    static let full = EqualityRule(times: .eitherTruncated, linkTargets: true, attributes: .full)

    /// What metadata alone says.
    enum Verdict { case different, attributesDecide, contentDecides }

    /// Compares two inodes of which neither is a whiteout.
    func compare(_ old: EntryMetadata, _ new: EntryMetadata) -> Verdict {
        guard old.mode == new.mode, old.uid == new.uid, old.gid == new.gid, old.deviceMajor == new.deviceMajor,
            old.deviceMinor == new.deviceMinor
        else { return .different }
        if new.kind == .directory {
            if directoryTimes, !timesEqual(old, new) { return .different }
            return .attributesDecide
        }
        guard old.size == new.size, old.mtimeSeconds == new.mtimeSeconds else { return .different }
        let truncated: Bool
        switch times {
        case .eitherTruncated: truncated = old.mtimeNanoseconds == 0 || new.mtimeNanoseconds == 0
        case .bothTruncatedContent: truncated = old.mtimeNanoseconds == 0 && new.mtimeNanoseconds == 0
        }
        if !truncated, old.mtimeNanoseconds != new.mtimeNanoseconds { return .different }
        return contentDecides(old, new, truncated: truncated) ? .contentDecides : .attributesDecide
    }

    private func timesEqual(_ old: EntryMetadata, _ new: EntryMetadata) -> Bool {
        old.mtimeSeconds == new.mtimeSeconds
            && (old.mtimeNanoseconds == new.mtimeNanoseconds || old.mtimeNanoseconds == 0
                || new.mtimeNanoseconds == 0)
    }
}
