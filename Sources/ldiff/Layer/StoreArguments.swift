import ArgumentParser
import Glibc
import LayerDrivers
import LayerModel
import LayerPipeline

extension DriverName: ExpressibleByArgument {}

/// Which store an operation works on, and how it is opened.
struct StoreArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The driver; not needed where --home ends in a driver's name or holds one store.",
            valueName: "driver"))
    var driver: DriverName?

    @Option(
        help: ArgumentHelp(
            "The driver's directory, such as /var/lib/docker/overlay2, or the directory above it.", valueName: "dir"),
        completion: .directory)
    var home: PathArgument

    @Option(
        name: .customLong("storage-opt"),
        help: ArgumentHelp(
            "An option of the driver (overlay2.size=10G, mountopt=nodev); size=10G with create limits that layer.",
            valueName: "k=v"))
    var storageOptions: [String] = []

    @Option(
        name: .customLong("driver-opt"),
        help: ArgumentHelp("An option of the driver, whatever its name.", valueName: "k=v"))
    var driverOptions: [String] = []

    @OptionGroup var maps: IDMapOptions

    /// Opens the store to look at it: nothing is changed, and nothing need be mountable.
    func read(_ global: GlobalOptions) throws -> any StoreReader {
        try refuseLayerOptions()
        let place = try StorePlace(home.path)
        try place.requireStore(driver)
        let configuration = configuration(place, global)
        if let name = driver ?? place.driver { return try DriverRegistry.read(name, configuration) }
        return try DriverRegistry.read(below: place.home, configuration)
    }

    /// The same, or nil where there is no store yet.
    func readIfPresent(_ global: GlobalOptions) throws -> (any StoreReader)? {
        let place = try StorePlace(home.path)
        guard place.hasStore(driver) else { return nil }
        return try read(global)
    }

    /// Opens the store to change it; with `making` it is made if it is not there.
    ///
    /// `form` is what layers that come in shall be, which only erofs can be told.
    func open(
        _ global: GlobalOptions, making: Bool = false, sync: Bool = false, form: FormChoice? = nil
    ) throws -> any LayerDriver {
        try refuseLayerOptions()
        return try openStore(global, making: making, sync: sync, form: form)
    }

    /// Opens the store to create a layer in it, with the options that are the layer's own.
    func openForCreate(_ global: GlobalOptions) throws -> (any LayerDriver, [StorageOption]) {
        let options = try splitOptions().layer.map { (text) throws(LayerError) in try StorageOption(parsing: text) }
        return (try openStore(global, making: true, sync: false, form: nil), options)
    }

    private func refuseLayerOptions() throws {
        guard let option = splitOptions().layer.first else { return }
        throw ValidationError(
            "the option \(option) is for a layer, at create; a driver's has its name before it: overlay2.size=10G")
    }

    private func openStore(
        _ global: GlobalOptions, making: Bool, sync: Bool, form: FormChoice?
    ) throws(LayerError) -> any LayerDriver {
        OutputPlace.remember(home.path)
        let place = try StorePlace(home.path, making: making)
        if !making { try place.requireStore(driver) }
        var configuration = configuration(place, global)
        configuration.sync = sync ? .fileSystem : .none
        var name = driver ?? place.driver
        if let form {
            if name == nil { name = try DriverRegistry.existing(below: place.home) }
            try requireForms(name, place)
            configuration.options.append("erofs.form=\(form.rawValue)")
        }
        if let name = driver ?? place.driver { return try DriverRegistry.open(name, configuration) }
        return try DriverRegistry.select(below: place.home, configuration)
    }

    private func requireForms(_ name: DriverName?, _ place: StorePlace) throws(LayerError) {
        guard name != .erofs else { return }
        throw LayerError(
            .unsupported, "open the store", path: place.home,
            cause: .reason("--form is for the driver erofs; other drivers keep layers in one form only"),
            hint: "leave --form out, or name --driver erofs")
    }

    private func configuration(_ place: StorePlace, _ global: GlobalOptions) -> DriverConfiguration {
        var configuration = DriverConfiguration(home: place.home, options: driverOptions + splitOptions().driver)
        configuration.uidMap = maps.users
        configuration.gidMap = maps.groups
        configuration.workers = global.workers
        configuration.io = global.io
        let (quiet, verbose) = (global.quiet, global.verbose)
        configuration.log = { level, line in
            guard level == .warning ? !quiet : verbose else { return }
            ProgressBar.clearLine()
            Console.error("ldiff: \(level == .warning ? "warning: " : "")\(RawArguments.oneLine(line))\n")
        }
        return configuration
    }

    /// Docker has two kinds of `--storage-opt`: the daemon's are the driver's and begin with its name, a container's are
    /// the layer's: `size`, and nothing else. What is neither is left to the driver to refuse.
    private func splitOptions() -> (driver: [String], layer: [String]) {
        var (driver, layer): ([String], [String]) = ([], [])
        for text in storageOptions {
            let key = text.prefix { $0 != "=" }.filter { !$0.isWhitespace }.lowercased()
            if key == "size" { layer.append(text) } else { driver.append(text) }
        }
        return (driver, layer)
    }
}

/// Where a store lies.
struct StorePlace {
    /// The absolute path, free of symbolic links, since mounts are known by such paths.
    let home: PathBytes
    /// The driver that the last component names.
    let driver: DriverName?

    /// With `making` what is not there would be an output.
    init(_ path: PathBytes, making: Bool = false) throws(LayerError) {
        home = try Self.resolve(path, making)
        driver = home.splitLast().flatMap { DriverName(rawValue: String(decoding: $0.name.bytes, as: UTF8.self)) }
    }

    /// Throws `notFound` where there is no store, so that a mistyped path does not become one.
    func requireStore(_ name: DriverName?) throws(LayerError) {
        guard !hasStore(name) else { return }
        throw LayerError(
            .notFound, "open the store", path: home, cause: .reason("there is no store"),
            hint: "ldiff layer create and apply make one; name its driver with --driver")
    }

    /// Whether there is a store, of the driver that is named or of any.
    func hasStore(_ name: DriverName?) -> Bool {
        let places = name == nil && driver == nil ? DriverName.allCases.map { home.appending($0.rawValue) } : [home]
        return places.contains { Self.realPath($0) != nil }
    }

    /// The directory itself, or where it would be made.
    private static func resolve(_ path: PathBytes, _ making: Bool) throws(LayerError) -> PathBytes {
        if let found = realPath(path) {
            try requireDirectory(found, path)
            return found
        }
        let cause = errno
        guard cause == ENOENT, let parts = path.splitLast(), let parent = realPath(parts.directory) else {
            let hint = cause == ENOENT ? "only its last component is created" : nil
            let failed = SystemCallError("realpath", errno: cause)
            guard !making else {
                throw LayerError(.cannotCreate, "make the store", path: path, cause: .systemCall(failed), hint: hint)
            }
            throw LayerError(failed, "open the store", path: path, hint: hint)
        }
        return parent.appending(parts.name)
    }

    private static func requireDirectory(_ found: PathBytes, _ path: PathBytes) throws(LayerError) {
        var facts = stat()
        let terminated = found.bytes.map { CChar(bitPattern: $0) } + [0]
        guard stat(terminated, &facts) == 0, facts.st_mode & S_IFMT != S_IFDIR else { return }
        throw LayerError(
            SystemCallError("stat", errno: ENOTDIR), "open the store", path: path, hint: "a store is a directory")
    }

    private static func realPath(_ path: PathBytes) -> PathBytes? {
        let terminated = path.bytes.map { CChar(bitPattern: $0) } + [0]
        guard let found = realpath(terminated, nil) else { return nil }
        defer { free(found) }
        return PathBytes((0..<strlen(found)).map { UInt8(bitPattern: found[$0]) })
    }
}

/// The layer's id from the command line.
struct LayerArgument: ExpressibleByArgument {
    var bytes: PathBytes

    init?(argument: String) { bytes = PathBytes(RawArguments.bytes(argument)) }

    /// The id, if a layer may have it.
    func id() throws(LayerError) -> LayerID { try LayerID(bytes) }
}

/// Which layer a difference begins at.
struct ParentArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp("Compare with this ancestor instead of the layer's own parent.", valueName: "id"))
    var parent: LayerArgument?

    @Flag(help: "Compare with nothing: the whole tree.")
    var noParent = false

    func validate() throws {
        if parent != nil && noParent { throw ValidationError("--parent and --no-parent exclude each other") }
    }

    /// The layer with what it is compared with, which is told when `global` says so.
    func layer(_ id: LayerArgument, in store: any StoreReader, _ global: GlobalOptions) throws(LayerError)
        -> StoreLayer
    {
        var layer = StoreLayer(try id.id(), since: nil, in: store)
        guard try store.exists(layer.id) else { throw DriverErrors.unknownLayer("compare the layer", layer.id) }
        if let parent, !parent.bytes.bytes.isEmpty {
            layer.parent = try parent.id()
        } else if parent == nil, !noParent {
            layer.parent = try store.parent(of: layer.id)
        }
        if global.verbose {
            Console.error("ldiff: \(layer.id) since \(layer.parent?.description ?? "nothing: the whole tree")\n")
        }
        return layer
    }
}
