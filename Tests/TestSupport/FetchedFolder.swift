import Synchronization

/// Folders that the scripts of this repository fetch, once each.
package enum FetchedFolder {
    private static let known = Mutex<[String: String]>([:])

    /// What the script `name` prints for `words`: where it has put what it fetched.
    package static func path(_ name: String, _ words: String...) throws -> String {
        let script =
            #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(separator: "/")
            + "/scripts/" + name
        let key = ([script] + words).joined(separator: " ")
        return try known.withLock { known in
            if let folder = known[key] { return folder }
            let result = try runProgram([script] + words)
            guard result.status == 0 else { throw TestFailure("\(key): \(result.errors)") }
            let folder = String(decoding: result.output, as: UTF8.self).trimmed
            known[key] = folder
            return folder
        }
    }
}
