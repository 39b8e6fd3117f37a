import Glibc

/// What runs left in the cache for later ones: inputs, and what was made of them. Other things in that folder are not the
/// harness's, and stay.
enum CacheContents {
    /// The names of what is there, with the bytes that they take where `du` tells.
    static func found(in cache: String = Recipe.cache) -> [(path: String, bytes: UInt64?)] {
        let names = entries(of: cache).filter { isOurs($0) }.sorted()
        return names.map { name in
            let path = cache + "/" + name
            let said = (try? Pipeline(["du", "-s", "--block-size=1", path]).run(sink: .memory))?.output ?? []
            return (path, String(decoding: said, as: UTF8.self).split(separator: "\t").first.flatMap { UInt64($0) })
        }
    }

    /// One line for the end of a run; nil where nothing is left.
    static func line(in cache: String = Recipe.cache) -> String? {
        let found = found(in: cache)
        guard !found.isEmpty else { return nil }
        let bytes = found.compactMap(\.bytes).reduce(0, +)
        let size = bytes > 0 ? "\(Format.bytes(bytes)) in " : ""
        return "kept for later runs: \(size)\(cache) (\(found.count) inputs and what is made of them); "
            + "ldiff bench --clean removes it"
    }

    /// Removes it, and says what.
    static func remove(in cache: String = Recipe.cache, _ say: (String) -> Void) throws(BenchFailure) {
        let found = found(in: cache)
        for (path, bytes) in found {
            removeTree(path)
            guard !TextFile.exists(path) else {
                throw BenchFailure(.cannotWrite, "remove \(path): something of it is left")
            }
            say("removed \(path)" + (bytes.map { ", \(Format.bytes($0))" } ?? ""))
        }
        if found.isEmpty { say("nothing of bench is in \(cache)") }
    }

    /// Recipes, small trees, `bench` with what is made of inputs, and what a killed process left unfinished.
    private static func isOurs(_ name: String) -> Bool {
        if Recipe(rawValue: name) != nil || ["bench", "ten", "ten.tar"].contains(name) { return true }
        if let count = name.stripped(of: "tiny-") { return count.allSatisfy(\.isNumber) }
        if let rest = name.stripped(of: "ldiff-bench-") { return isGone(rest.prefix { $0.isNumber }) }
        let parts = name.split(separator: ".partial-")
        return parts.count == 2 && isOurs(String(parts[0])) && isGone(parts[1])
    }

    /// Whether no process of that number runs.
    private static func isGone(_ process: Substring) -> Bool {
        guard let process = pid_t(process), process > 0 else { return false }
        return kill(process, 0) != 0 && errno == ESRCH
    }

    private static func entries(of path: String) -> [String] {
        guard let folder = opendir(path) else { return [] }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }
}

extension String {
    /// What follows `prefix`; nil where it does not begin so, or nothing follows.
    fileprivate func stripped(of prefix: String) -> Substring? {
        hasPrefix(prefix) && count > prefix.count ? dropFirst(prefix.count) : nil
    }
}
