import LayerEngine
import LayerModel
import LayerMounts
import LinuxIO
import Synchronization

/// What the kernel's overlayfs can do for one store, found by trying when the driver is opened (drivers.md 6.3).
///
/// Belongs to the driver, not to the process: another home may lie on another file system (K12). What only some
/// operations need is found out when the first of them comes.
final class OverlayKernel: Sendable {
    let fileSystemName: String
    let reportsFileTypes: Bool
    let mountAPI: NewMountAPI
    private let support: OverlaySupport
    private let basic: OverlayMountOptions
    private let mountOptionsFound = Mutex<OverlayMountOptions?>(nil)

    /// Tries a mount with `lowerCount` lower directories in the home directory, or in the one above while there is none.
    ///
    /// Throws `driverUnavailable` where that fails, or where directories do not tell the types of their entries.
    init(_ driver: DriverName, _ configuration: DriverConfiguration, lowerCount: Int) throws(LayerError) {
        let home = configuration.home
        let exists = try StoreFiles.isDirectory(home)
        let place = exists ? home : configuration.root
        guard try StoreFiles.isDirectory(place) || place == PathBytes("/") else {
            throw LayerError(
                .notFound, "open the store", path: home, cause: .reason("\(place) is no directory"),
                hint: "make it first; only the last component is made")
        }
        if exists { try Self.refuseForeign(home, driver) }
        support = OverlaySupport(home: place)
        mountAPI = support.api
        let kind = try FileSystemKind.of(place)
        fileSystemName = kind.name
        let options: OverlayMountOptions
        do throws(LayerError) {
            options = OverlayMountOptions(indexOff: OverlaySupport.hasIndex, userXattr: support.needsUserXattr())
            // Whoever made the layers of a store has tried it there; asking for a size should not cost a mount.
            var isKnown = false
            if exists { isKnown = try StoreFiles.isEmpty(home) ? false : Self.kernelListsOverlay() }
            if !isKnown {
                try support.checkMount(lowers: lowerCount, options: options)
            }
        } catch {
            throw DriverErrors.notSupported(
                driver, why: "an overlay cannot be mounted in \(place): \(error)",
                hint: ProcessState.effectiveUser == 0
                    ? "the file system must support overlay's upper directories, ext4 and xfs do" : "run it as root")
        }
        basic = options
        reportsFileTypes = try OverlaySupport.supportsDirectoryTypes(place)
        guard reportsFileTypes else {
            // Docker 20.10 goes on with a store that is there already.
            guard exists, try !StoreFiles.isEmpty(home) else {
                throw DriverErrors.noFileTypes(driver, home: home, fileSystem: fileSystemName)
            }
            configuration.log(
                .warning, DriverErrors.noFileTypes(driver, home: home, fileSystem: fileSystemName).description)
            return
        }
    }

    /// Whether the running kernel has overlayfs, loaded or built in.
    private static func kernelListsOverlay() throws(LayerError) -> Bool {
        let list = try StoreFiles.read(PathBytes("/proc/filesystems")) ?? []
        return list.split(separator: UInt8(ascii: "\n")).contains { $0.elementsEqual(Array("nodev\toverlay".utf8)) }
    }

    /// The options of this store's mounts. Directories moved by other mounts stay readable; no mount of ours moves one
    /// by a redirect, so that an upper directory remains the difference (drivers.md 6.4, rule 1).
    var mountOptions: OverlayMountOptions {
        mountOptionsFound.withLock { found in
            if let found { return found }
            var options = basic
            if !basic.userXattr { options.redirectFollow = (try? support.acceptsRedirectFollow()) ?? false }
            found = options
            return options
        }
    }

    /// Shows an overlay at `merged`; a writable one gets a work directory that `owner` may use.
    func mount(_ overlay: OverlayMount, at merged: PathBytes, in home: PathBytes, owner: Owner) throws(LayerError) {
        try overlay.mount(at: merged, relativeTo: home, api: mountAPI)
        guard let work = overlay.work else { return }
        do throws(LayerError) {
            // Copying up a directory in a user namespace needs the kernel's own work directory to be root's there.
            try StoreFiles.setOwner(work.appending("work"), owner)
        } catch {
            try? KernelMount.unmount(merged, .noFollow)
            throw error
        }
    }

    /// How marks are spelled in upper directories.
    var dialect: WhiteoutDialect { usesUserAttributes ? .overlayUserXattr : .overlay }

    /// Whether marks lie in `user.overlay.`.
    var usesUserAttributes: Bool { basic.userXattr }

    /// Whether mounts copy metadata without contents by the kernel's default.
    var usesMetacopy: Bool { (try? support.usesMetacopy(basic)) ?? false }

    /// Whether an upper directory alone tells the difference: marks can be read here, and are right. Redirects and
    /// metadata-only copies are followed, so they do not matter.
    var opaqueMarksAreSound: Bool {
        // Before Linux 4.8 the opaque mark was copied up with its directory.
        if ProcessState.isInUserNamespace, !basic.userXattr { return false }
        return ProcessState.kernelVersion >= (4, 8)
    }

    /// Refuses a directory that holds something which is no store of this driver: opening would change its mode, and
    /// mending would take what is in it for leftovers.
    static func refuseForeign(_ home: PathBytes, _ driver: DriverName) throws(LayerError) {
        let names = try StoreFiles.names(in: home)
        guard !names.isEmpty else { return }
        // A layer of the driver overlay may be called so, too.
        let links = home.appending("l")
        let parts = [
            try StoreFiles.metadata(links.appending("root")), try StoreFiles.metadata(links.appending("lower-id")),
        ]
        let isLayer = parts.contains { $0 != nil }
        let hasLinks = names.contains(PathBytes("l")) && !isLayer
        switch driver {
        case .overlay:
            guard hasLinks else {
                for name in names {
                    let layer = home.appending(name)
                    if OverlayStore.isReserved(name) { return }
                    if try StoreFiles.metadata(layer.appending("root")) != nil { return }
                    if try StoreFiles.metadata(layer.appending("lower-id")) != nil { return }
                }
                if names == [PathBytes("lost+found")] { return }
                throw LayerError(
                    .invalidArgument, "open the store", path: home,
                    cause: .reason("it is not empty, and holds no layer of the driver overlay"),
                    hint: "name the driver's own directory, such as /var/lib/docker/overlay")
            }
            throw LayerError(
                .invalidArgument, "open the store", path: home,
                cause: .reason("it is laid out as overlay2's, not overlay's"), hint: "use --driver overlay2")
        default:
            guard !hasLinks else { return }
            // Probes and the file system's own directory may be all there is.
            let own = ["backingFsBlockDev", "lost+found", Trash.directoryName]
            guard names.contains(where: { !own.contains($0.description) && !OverlayStore.isReserved($0) }) else {
                return
            }
            throw LayerError(
                .invalidArgument, "open the store", path: home,
                cause: .reason("it is not empty, and has no directory l as a store of \(driver.rawValue) has"),
                hint: "name the driver's own directory, such as /var/lib/docker/\(driver.rawValue)")
        }
    }
}
