import Glibc

/// What programs leave behind that work below a directory of a test's own: mounts and processes. Nothing else of the
/// machine is looked at or touched.
package enum Leftovers {
    /// The mount points at or below `directory`, the deepest last.
    package static func mounts(below directory: String) throws -> [String] {
        let text = String(decoding: try readFile("/proc/self/mountinfo"), as: UTF8.self)
        return text.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            guard words.count > 4 else { return nil }
            let path = String(words[4])
            return path == directory || path.hasPrefix(directory + "/") ? path : nil
        }
    }

    /// The mount points of packed layers whose files lie below `root`.
    package static func layerMounts(of root: String) throws -> [String] {
        let text = String(decoding: try readFile("/proc/self/mountinfo"), as: UTF8.self)
        return text.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            guard let dash = words.lastIndex(of: "-"), dash + 2 < words.endIndex, words[dash + 1] == "erofs",
                words[dash + 2].hasPrefix(root + "/")
            else { return nil }
            return String(words[4])
        }
    }

    /// Unmounts packed layers whose files lie below `root`, as the end of the machine does.
    package static func unmountLayers(of root: String) throws {
        var places: Set<String> = []
        for point in try layerMounts(of: root) {
            guard umount2(point, 0) == 0 else { throw TestFailure.call("umount", point) }
            rmdir(point)
            places.insert(String(point[..<(point.lastIndex(of: "/") ?? point.endIndex)]))
        }
        for place in places { rmdir(place) }
    }

    /// The processes that have `directory` in their command line, with it; zombies have none.
    package static func processes(naming directory: String) -> [(process: pid_t, command: String)] {
        guard let stream = opendir("/proc") else { return [] }
        defer { closedir(stream) }
        var found: [(process: pid_t, command: String)] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard let process = pid_t(name), process != getpid(),
                let bytes = try? readFile("/proc/\(name)/cmdline")
            else { continue }
            let command = String(decoding: bytes.map { $0 == 0 ? 0x20 : $0 }, as: UTF8.self)
            if command.contains(directory + "/") { found.append((process, command)) }
        }
        return found
    }

    /// Waits a little for both to vanish; what stays is ended and unmounted, and told.
    package static func clear(below directory: String, seconds: Int = 20) throws -> [String] {
        for _ in 0..<seconds * 50 {
            if processes(naming: directory).isEmpty, try mounts(below: directory).isEmpty { return [] }
            usleep(20_000)
        }
        var told: [String] = []
        for (process, command) in processes(naming: directory) {
            told.append("process \(process): \(command)")
            kill(process, SIGKILL)
        }
        for path in try mounts(below: directory).reversed() {
            told.append("mount \(path)")
            umount2(path, Int32(MNT_DETACH))
        }
        return told
    }

    /// Removes the cgroups called `name` at the top of every hierarchy, which containers were in. The kernel removes only
    /// empty ones.
    package static func removeControlGroups(_ name: String) {
        let top = "/sys/fs/cgroup"
        for hierarchy in [top] + directoryNames(top).map({ "\(top)/\($0)" }) { rmdir("\(hierarchy)/\(name)") }
    }
}
