import Glibc
import LayerModel
import LinuxIO

/// What the descriptors of this process lead to, sorted: a path, or the kernel's word for what has none.
///
/// For finding leaks by comparing two lists. The runtime's own descriptors that come and go are left out: libdispatch
/// makes the timer of its manager thread some time after the process has started (under load, long after), and that
/// thread now and then looks at /proc/THREAD/stat.
package func openFiles() throws -> [String] {
    var targets: [String] = []
    var listing = DirectoryReader()
    let scratch = Slab(capacity: 4096)
    let directory = try openPath("/proc/self/fd")
    while let entry = try listing.next(of: directory) {
        if listing.name(of: entry).copied() == Array(String(directory.number).utf8) { continue }
        let count: Int
        do throws(SystemCallError) {
            count = try directory.readLink(listing.pointer(of: entry), into: scratch, 0..<scratch.capacity)
        } catch {
            // ENOENT: it was closed meanwhile.
            guard error.errno == ENOENT else { throw error }
            continue
        }
        let target = String(decoding: scratch.span(0..<count).copied(), as: UTF8.self)
        if !belongsToRuntime(target) { targets.append(target) }
    }
    return targets.sorted()
}

private func belongsToRuntime(_ target: String) -> Bool {
    target == "anon_inode:[timerfd]" || target == "anon_inode:[eventpoll]"
        || (target.hasPrefix("/proc/") && target.hasSuffix("/stat"))
}

/// What is open now and was not in `before`, for the message of a failing test; nil where the lists are equal.
package func leak(since before: [String]) throws -> String? {
    let now = try openFiles()
    guard now != before else { return nil }
    var rest = before
    var added: [String] = []
    for target in now {
        if let index = rest.firstIndex(of: target) { rest.remove(at: index) } else { added.append(target) }
    }
    // The main thread closes its event descriptor when it has nothing more to do, which may be after the test began.
    rest.removeAll { $0 == "anon_inode:[eventfd]" }
    guard !added.isEmpty || !rest.isEmpty else { return nil }
    return "left open: \(added), closed without being asked: \(rest)"
}
