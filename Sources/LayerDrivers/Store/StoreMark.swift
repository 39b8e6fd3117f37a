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
        guard let found = try read(), found != driver.rawValue, try StoreFiles.metadata(home) != nil else { return }
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

    /// The name in the file; nil where there is none.
    private func read() throws(LayerError) -> String? {
        try StoreFiles.read(path).map { String(decoding: $0.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self) }
    }
}
