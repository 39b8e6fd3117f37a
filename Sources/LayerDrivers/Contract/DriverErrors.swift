public import LayerModel

/// The errors that drivers share, with Docker's words.
public enum DriverErrors {
    /// Docker's `ErrNotSupported`: automatic selection goes on to the next driver.
    public static func notSupported(_ name: DriverName, why: String, hint: String? = nil) -> LayerError {
        LayerError(
            .driverUnavailable, "open the driver \(name.rawValue)", cause: .reason("driver not supported: \(why)"),
            hint: hint)
    }

    /// Docker's `ErrPrerequisites`.
    public static func prerequisites(_ name: DriverName, why: String, hint: String? = nil) -> LayerError {
        LayerError(
            .driverUnavailable, "open the driver \(name.rawValue)",
            cause: .reason("prerequisites for driver not satisfied (wrong filesystem?): \(why)"), hint: hint)
    }

    /// Docker's `ErrIncompatibleFS`.
    public static func incompatibleFileSystem(_ name: DriverName, home: PathBytes, found: String) -> LayerError {
        LayerError(
            .driverUnavailable, "open the driver \(name.rawValue)", path: home,
            cause: .reason("backing file system is unsupported for this graph driver: \(found)"),
            hint: "move the home directory to ext4 or xfs")
    }

    /// The backing file system's directories do not say what their entries are.
    public static func noFileTypes(_ name: DriverName, home: PathBytes, fileSystem: String) -> LayerError {
        var text =
            "\(name.rawValue): the backing \(fileSystem) filesystem is formatted without d_type support, which leads to "
            + "incorrect behavior."
        if fileSystem == "xfs" {
            text += " Reformat the filesystem with ftype=1 to enable d_type support."
        } else if fileSystem == "extfs" {
            text += " Reformat the filesystem (or use tune2fs) with -O filetype flag to enable d_type support."
        }
        text += " Backing filesystems without d_type support are not supported."
        return LayerError(.driverUnavailable, "open the driver \(name.rawValue)", path: home, cause: .reason(text))
    }

    /// A layer that the store does not know.
    public static func unknownLayer(_ operation: String, _ id: LayerID) -> LayerError {
        LayerError(
            .notFound, operation, path: id.component, cause: .reason("unknown layer"),
            hint: "ldiff layer list shows the layers of a store")
    }

    /// A layer that is there already.
    public static func exists(_ id: LayerID) -> LayerError {
        LayerError(
            .alreadyExists, "create the layer", path: id.component, cause: .reason("a layer of this id exists"),
            hint: "remove it first, or choose another id")
    }

    /// A layer that cannot be filled, since it holds something.
    public static func filled(_ id: LayerID) -> LayerError {
        LayerError(
            .alreadyExists, "apply the layer", path: id.component, cause: .reason("it holds something already"),
            hint: "remove it first; to unpack onto what it holds, mount it and apply to that directory")
    }

    /// An id that a driver keeps for itself.
    public static func reserved(_ id: LayerID, _ name: DriverName) -> LayerError {
        LayerError(
            .invalidArgument, "use the layer id", path: id.component,
            cause: .reason("the driver \(name.rawValue) uses this name itself"), hint: "choose another id")
    }

    /// An option for one layer that the driver does not have.
    public static func storageOption(_ id: LayerID, _ text: String, hint: String? = nil) -> LayerError {
        LayerError(
            .invalidArgument, "create the layer", path: id.component, cause: .reason(text),
            hint: hint ?? "ldiff layer --help has the options of each driver")
    }
}

extension MountOptions.Access {
    /// Throws `unsupported` where a layer that is its own directory is to be kept from being written to.
    func requireUnprotected(_ id: LayerID) throws(LayerError) {
        guard self == .readOnly else { return }
        throw LayerError(
            .unsupported, "mount the layer", path: id.component,
            cause: .reason("a layer without a mount is its own directory, which cannot be made read-only"),
            hint: "create a layer on it, and mount that")
    }
}

extension LayerDriver {
    /// For drivers whose mounts show ids as they lie in the store.
    func refuseIDMaps(_ options: MountOptions) throws(LayerError) {
        guard options.uidMap.isIdentity, options.gidMap.isIdentity else {
            throw LayerError(
                .unsupported, "mount the layer",
                cause: .reason("the driver \(name.rawValue) cannot shift the ids of a mount"),
                hint:
                    "the driver fuse-overlayfs can; or open the store with id maps, so that layers are unpacked shifted"
            )
        }
    }
}

extension LayerError {
    /// Whether the driver cannot work here at all, so that automatic selection may try the next one.
    public var meansNotSupported: Bool { code == .driverUnavailable }
}

extension DriverErrors {
    /// Something that is no layer lies where a layer is to be made.
    static func occupied(_ id: LayerID, _ why: String) -> LayerError {
        LayerError(
            .alreadyExists, "create the layer", path: id.component,
            cause: .reason("something is called so in the store that is no layer: \(why)"),
            hint: "move it away, or choose another id")
    }

    /// A layer that a living process has made and will fill.
    static func beingMade(_ id: LayerID) -> LayerError {
        LayerError(
            .inUse, "create the layer", path: id.component,
            cause: .reason("another process, such as Docker's plugin, is making a layer of this id"),
            hint: "wait for it, or choose another id")
    }

    /// A layer on itself.
    static func ownParent(_ id: LayerID) -> LayerError {
        LayerError(
            .invalidArgument, "create the layer", path: id.component,
            cause: .reason("a layer cannot be its own parent"))
    }
}
