/// Releases of Docker that tests run: Debian 12's own, and those of newer Debians, unpacked beside.
package enum DockerRelease: String, Sendable, CaseIterable {
    /// Debian 12's 20.10.
    case installed
    /// Debian 13's 26.1, the last that Debian has with storage plugins.
    case trixie
    /// 28.
    case sid

    /// Below it lie `bin` and `sbin`. Fetches them the first time.
    package func programs() throws -> String {
        guard self != .installed else { return "/usr" }
        return try FetchedFolder.path("fetch-docker", rawValue) + "/usr"
    }
}
