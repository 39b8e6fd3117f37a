internal import Glibc
internal import LinuxIO

/// What a child program finds in its environment: the same wherever ldiff runs, so that outputs can be parsed.
enum Environment {
    private static let daemonFolders = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"]

    private static func value(_ name: String) -> String? {
        // Reason: getenv gives NULL or a NUL-terminated string, which is copied at once.
        guard let text = unsafe getenv(name) else { return nil }
        return unsafe String(cString: text)
    }

    /// PATH, and behind it the folders of programs for root, which a user's PATH lacks.
    static var searchPath: [String] {
        var folders = (value("PATH") ?? "").split(separator: ":").map(String.init).filter { $0.hasPrefix("/") }
        for folder in daemonFolders where !folders.contains(folder) { folders.append(folder) }
        return folders
    }

    static func variables(_ given: [String: String]) -> [String] {
        var variables = ["PATH": searchPath.joined(separator: ":"), "LC_ALL": "C", "HOME": value("HOME") ?? "/"]
        variables.merge(given) { $1 }
        return variables.map { "\($0.key)=\($0.value)" }.sorted()
    }
}
