public import LayerModel
import LinuxIO

/// The list of drivers, and which one a store is opened with.
public enum DriverRegistry {
    /// The order in which Docker 20.10 looks for a driver, and behind them ours.
    public static let priority: [DriverName] = [.zfs, .overlay2, .fuseOverlayFS, .aufs, .overlay, .erofs]
    /// Never picked for a new store, only where one exists.
    public static let deprecated: Set<DriverName> = [.aufs, .overlay]
    /// Never picked for a new store either: who wants packed layers says so.
    static let byNameOnly: Set<DriverName> = [.erofs]

    /// Opens the store at `configuration.home` with the driver `name` for writing, or makes it.
    ///
    /// Throws what the driver's initialiser throws: `driverUnavailable` where it cannot work here.
    public static func open(_ name: DriverName, _ configuration: DriverConfiguration) throws(LayerError)
        -> any LayerDriver
    {
        try check(configuration)
        switch name {
        case .overlay2: return try Overlay2Driver(configuration)
        case .overlay: return try OverlayDriver(configuration)
        case .fuseOverlayFS: return try FuseOverlayFSDriver(configuration)
        case .aufs: return try AUFSDriver(configuration)
        case .zfs: return try ZFSDriver(configuration)
        case .erofs: return try ErofsDriver(configuration)
        }
    }

    /// Opens the store at `configuration.home`, one of the driver `name`, to be looked at: whether or not this machine could
    /// mount its layers.
    ///
    /// Throws `notFound` where there is none.
    public static func read(_ name: DriverName, _ configuration: DriverConfiguration) throws(LayerError)
        -> any StoreReader
    {
        try check(configuration)
        switch name {
        case .overlay2: return try Overlay2Reader(configuration)
        case .overlay: return try OverlayRootReader(configuration)
        case .fuseOverlayFS: return try FuseOverlayFSReader(configuration)
        case .aufs: return try AUFSReader(configuration)
        case .zfs: return try ZFSReader(configuration)
        case .erofs: return try ErofsStoreReader(configuration)
        }
    }

    private static func check(_ configuration: DriverConfiguration) throws(LayerError) {
        guard configuration.home.bytes.first == UInt8(ascii: "/") else {
            throw LayerError(
                .invalidArgument, "open the store", path: configuration.home,
                cause: .reason("the home directory must be an absolute path"))
        }
        for map in [configuration.uidMap, configuration.gidMap] where map.hostID(forContainer: 0) == nil {
            throw LayerError(
                .idUnmapped, "open the store", path: configuration.home,
                cause: .reason("Container ID 0 cannot be mapped to a host ID"),
                hint: "give maps in which a range begins at the container's id 0")
        }
    }

    /// The driver whose store lies below `root`, nil where there is none.
    ///
    /// Throws `invalidArgument` where there are several.
    public static func existing(below root: PathBytes, priority: [DriverName] = priority) throws(LayerError)
        -> DriverName?
    {
        var existing: [DriverName] = []
        for name in priority where try hasState(name, below: root) { existing.append(name) }
        guard existing.count > 1 else { return existing.first }
        let names = existing.map(\.rawValue).joined(separator: ", ")
        throw LayerError(
            .invalidArgument, "choose a driver", path: root,
            cause: .reason(
                "\(root) contains several valid graphdrivers: \(names); Please cleanup or explicitly choose storage "
                    + "driver (-s <DRIVER>)"),
            hint: "name one with --driver")
    }

    /// Opens the one store that lies below `root`, Docker's data directory, to be looked at.
    ///
    /// `configuration.home` is replaced. Throws `notFound` where there is none.
    public static func read(below root: PathBytes, _ configuration: DriverConfiguration) throws(LayerError)
        -> any StoreReader
    {
        guard let name = try existing(below: root) else {
            throw LayerError(
                .notFound, "open the store", path: root, cause: .reason("there is no store"),
                hint: "name its driver with --driver")
        }
        var configuration = configuration
        configuration.home = root.appending(name.rawValue)
        return try read(name, configuration)
    }

    /// Opens the driver that fits what lies below `root`, Docker's data directory, or the first one that works there.
    ///
    /// A driver that has a store below `root` is the one; if it fails, so does this, since another would show no images.
    /// `configuration.home` is replaced.
    public static func select(
        below root: PathBytes, _ configuration: DriverConfiguration, priority: [DriverName] = priority
    ) throws(LayerError) -> any LayerDriver {
        var configuration = configuration
        if let name = try existing(below: root, priority: priority) {
            configuration.home = root.appending(name.rawValue)
            return try open(name, configuration)
        }
        for name in priority where !deprecated.contains(name) && !byNameOnly.contains(name) {
            configuration.home = root.appending(name.rawValue)
            do throws(LayerError) {
                return try open(name, configuration)
            } catch {
                guard error.meansNotSupported else { throw error }
                configuration.log(.debug, error.description)
            }
        }
        throw LayerError(
            .driverUnavailable, "choose a driver", path: root, cause: .reason("No supported storage backend found"))
    }

    /// Whether the driver has a store below `root`: its directory holds something, or cannot be read.
    static func hasState(_ name: DriverName, below root: PathBytes) throws(LayerError) -> Bool {
        let home = root.appending(name.rawValue)
        guard try StoreFiles.metadata(home) != nil else { return false }
        do throws(LayerError) {
            return try !StoreFiles.isEmpty(home)
        } catch {
            return true
        }
    }
}
