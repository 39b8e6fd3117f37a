import Glibc
import Synchronization

/// A containerd to test with: this machine's, or a newer Debian's, unpacked into the cache.
package enum ContainerdRelease: String, Sendable, CaseIterable {
    /// Debian 12's 1.6, which takes no differs of others.
    case installed
    /// Debian 13's 1.7.
    case trixie
    /// 2.x.
    case sid

    /// Where its programs lie. Fetches them the first time.
    package func programs() throws -> String {
        guard self != .installed else { return "/usr/bin" }
        let folder = try Self.folders.withLock { known -> String in
            if let folder = known[self] { return folder }
            let script =
                #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3)
                .joined(separator: "/") + "/scripts/fetch-containerd"
            let result = try runProgram([script, rawValue])
            guard result.status == 0 else { throw TestFailure("\(script) \(rawValue): \(result.errors)") }
            let folder = String(decoding: result.output, as: UTF8.self).trimmed
            known[self] = folder
            return folder
        }
        return folder + "/usr/bin"
    }

    private static let folders = Mutex<[ContainerdRelease: String]>([:])
}
