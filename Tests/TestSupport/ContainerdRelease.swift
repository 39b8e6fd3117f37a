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
        return try FetchedFolder.path("fetch-containerd", rawValue) + "/usr/bin"
    }
}
