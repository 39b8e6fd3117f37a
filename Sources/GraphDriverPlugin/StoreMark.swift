import LayerDrivers
import LayerModel
import LinuxIO

/// Which driver made a store, kept in a file beside it.
///
/// Docker knows the plugin's name only. overlay2 and fuse-overlayfs lay their stores out alike but may mark deletions
/// differently: one opened with the other's driver would show files that were deleted.
struct StoreMark {
    private let home: PathBytes
    private var path: PathBytes { PathBytes(home.bytes + Array(".driver".utf8)) }

    init(home: PathBytes) { self.home = home }

    /// Throws `invalidArgument` where the store there is another driver's.
    func check(_ driver: DriverName) throws(LayerError) {
        guard let found = try read(), found != driver.rawValue, try homeExists() else { return }
        throw LayerError(
            .invalidArgument, "open the store", path: home,
            cause: .reason("it is of the driver \(found), not \(driver.rawValue)"),
            hint: "set ldiff.driver=\(found), or move the store and \(path) away")
    }

    /// Writes the name down; it is there whole, or not at all.
    func keep(_ driver: DriverName) throws(LayerError) {
        if try read() == driver.rawValue { return }
        try attempt("write", path) { () throws(SystemCallError) in
            guard let (directory, name) = path.splitLast() else { throw SystemCallError("openat", errno: 22) }
            let temporary = PathBytes(name.bytes + Array(".new".utf8))
            let parent = try directory.open([.readOnly, .directory])
            let file = try temporary.withName { (name) throws(SystemCallError) in
                try parent.open(name, [.writeOnly, .create, .truncate, .noFollow], mode: 0o600)
            }
            try file.writeAll(Array((driver.rawValue + "\n").utf8).rawBytes)
            try temporary.withName { (old) throws(SystemCallError) in
                try name.withName { (new) throws(SystemCallError) in try parent.rename(old, to: new, in: parent) }
            }
        }
    }

    private func homeExists() throws(LayerError) -> Bool {
        do throws(SystemCallError) {
            _ = try home.open([.pathOnly])
            return true
        } catch {
            if error.errno == 2 { return false }
            throw LayerError(error, "open the store", path: home)
        }
    }

    /// The name in the file; nil where there is none.
    private func read() throws(LayerError) -> String? {
        do throws(SystemCallError) {
            let file = try path.open([.readOnly, .noFollow, .nonBlocking])
            let slab = Slab(capacity: 64)
            let count = try file.read(into: slab, 0..<slab.capacity)
            let line = slab.span(0..<count).copied().prefix { $0 != UInt8(ascii: "\n") }
            return String(decoding: line, as: UTF8.self)
        } catch {
            if error.errno == 2 { return nil }
            throw LayerError(error, "read", path: path)
        }
    }
}
