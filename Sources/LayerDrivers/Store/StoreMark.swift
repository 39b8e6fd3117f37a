public import LayerModel
import LinuxIO

/// Which driver made a store, kept in a file beside it.
///
/// Docker knows its plugin's name only. overlay2 and fuse-overlayfs lay their stores out alike but may mark deletions
/// differently: one opened with the other's driver would show files that were deleted.
public struct StoreMark {
    private let home: PathBytes
    private var path: PathBytes { PathBytes(home.bytes + Array(".driver".utf8)) }

    public init(home: PathBytes) { self.home = home }

    /// Throws `invalidArgument` where the store there is another driver's.
    public func check(_ driver: DriverName) throws(LayerError) {
        let found = try read()
        if found == driver.rawValue { return }
        guard try isOurs() else {
            throw LayerError(
                .invalidArgument, "open the store", path: home,
                cause: .reason("\(path) is to tell the store's driver, and is something else"),
                hint: "move that away, or choose another home")
        }
        guard let found, try StoreFiles.metadata(home) != nil else { return }
        throw LayerError(
            .invalidArgument, "open the store", path: home,
            cause: .reason("it is of the driver \(found), not \(driver.rawValue)"),
            hint: "set ldiff.driver=\(found), or move the store and \(path) away")
    }

    /// Writes the name down: after a crash it is there whole, or not at all.
    public func keep(_ driver: DriverName) throws(LayerError) {
        if try read() == driver.rawValue { return }
        try StoreWriter().write(Array((driver.rawValue + "\n").utf8), to: path, mode: 0o600, durable: true)
    }

    /// Whether what has the file's name was made by `keep`: a private file with a driver's name and nothing else. True where
    /// there is nothing.
    private func isOurs() throws(LayerError) -> Bool {
        guard let found = try StoreFiles.metadata(path) else { return true }
        guard found.kind == .regular, found.mode & 0o7777 == 0o600, found.uid == ProcessState.effectiveUser,
            let text = try StoreFiles.read(path)
        else { return false }
        return DriverName.allCases.contains { Array(($0.rawValue + "\n").utf8) == text }
    }

    /// The name in the file; nil where there is none.
    private func read() throws(LayerError) -> String? {
        try StoreFiles.read(path).map { String(decoding: $0.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self) }
    }
}
