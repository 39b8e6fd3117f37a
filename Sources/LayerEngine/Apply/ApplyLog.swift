import Glibc
import LayerModel
import LayerRules
import LinuxIO

/// What an apply tells of itself: its report so far, and errors that say where in the archive, or at which path.
final class ApplyLog {
    var report = ApplyReport()
    /// Where the current entry begins in the stream.
    var entryOffset: UInt64 = 0

    private let tree: ApplyTree
    private let policy: ApplyAttributePolicy

    init(_ tree: ApplyTree, _ policy: ApplyAttributePolicy) {
        self.tree = tree
        self.policy = policy
    }

    func warn(_ text: @autoclosure () -> String) { report.warn(text()) }

    /// The error for something wrong in the archive.
    @inline(never)
    func refusal(_ refusal: EntryRefusal) -> LayerError { self.refusal(refusal.code, refusal.reason) }

    @inline(never)
    func refusal(_ code: LayerError.Code, _ reason: String) -> LayerError {
        LayerError(code, "apply", path: nil, cause: .archive(offset: entryOffset, reason: reason))
    }

    @inline(never)
    func unmapped(_ what: String) -> LayerError {
        LayerError(
            .idUnmapped, "apply", path: nil,
            cause: .archive(offset: entryOffset, reason: "\(what) is not in the map"),
            hint: "add a range that covers it")
    }

    @inline(never)
    func ownerFailure(_ error: SystemCallError) -> LayerError {
        let isUnmapped = error.errno == EINVAL && policy.isInUserNamespace
        return LayerError(
            error, "apply", path: nil,
            hint: isUnmapped
                ? "the owner has no place in this user namespace: give it more subordinate ids" : nil)
    }

    /// The error for a failure, which names the path, and the attribute if it was one.
    @inline(never)
    func error(_ failure: WriteFailure) -> LayerError {
        let path = tree.path(of: failure.name, in: failure.node)
        if failure.attribute.isEmpty {
            var error =
                failure.error.call == "fchown"
                ? ownerFailure(failure.error) : LayerError(failure.error, "apply", path: nil)
            error.path = path
            return error
        }
        return LayerError(
            failure.error, "set the \(text(failure)) of", path: path,
            hint: remedy(failure))
    }

    /// Reports what was tolerated, one line each.
    func warn(of failures: ToleratedFailures) {
        for failure in failures.kept {
            let path = tree.path(of: failure.name, in: failure.node)
            let reason = errorText(failure.error.errno)
            if failure.attribute.isEmpty {
                report.warn("\(path): the owner was not set: \(reason)")
                continue
            }
            report.warn("\(path): the \(text(failure)) was not set: \(reason); \(remedy(failure))")
        }
        report.warningCount += failures.count - failures.kept.count
    }

    private func remedy(_ failure: WriteFailure) -> String {
        policy.remedy(
            failure.error.errno, attribute: failure.attribute.rawBytes, byteCount: failure.byteCount, of: failure.kind)
    }

    private func text(_ failure: WriteFailure) -> String {
        "attribute \(PathBytes(failure.attribute)) (\(failure.byteCount) \(failure.byteCount == 1 ? "byte" : "bytes"))"
    }
}

/// Runs system calls; their failure becomes the apply's error. The path is added where the entry is known.
@inline(__always) @discardableResult
func attempt<Result: ~Copyable>(_ body: () throws(SystemCallError) -> Result) throws(LayerError) -> Result {
    do throws(SystemCallError) {
        return try body()
    } catch {
        throw LayerError(error, "apply", path: nil)
    }
}
