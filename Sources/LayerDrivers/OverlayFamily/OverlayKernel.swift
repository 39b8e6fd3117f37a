import LayerEngine
import LayerModel
import LayerMounts
import LinuxIO
import Synchronization

/// Mounts of the kernel's overlayfs for one store that is open for writing.
///
/// Belongs to the driver, not to the process: another home may lie on another file system (K12). What only mounts need is
/// found out, by trying, when the first of them comes.
final class OverlayKernel: Sendable {
    let facts: OverlayFacts
    private let support: OverlaySupport
    private let basic: OverlayMountOptions
    private let mountOptionsFound = Mutex<OverlayMountOptions?>(nil)
    private let writer: StoreWriter

    /// Looks whether a store can be opened or made; where there is none yet, tries a mount with `lowerCount` lower directories
    /// in the nearest directory above.
    ///
    /// `userXattr` says where the store's marks lie, for a store of another user namespace; nil: as mounts need it here.
    /// Throws `driverUnavailable` where that fails, or where directories do not tell the types of their entries.
    init(
        _ driver: DriverName, _ configuration: DriverConfiguration, lowerCount: Int, userXattr: Bool?,
        _ writer: StoreWriter
    ) throws(LayerError) {
        let home = configuration.home
        let place = try StoreFiles.nearestDirectory(home)
        guard try StoreFiles.isDirectory(place) else {
            throw LayerError(.notFound, "open the store", path: home, cause: .reason("\(place) is no directory"))
        }
        let exists = place == home
        if exists { try OverlayView.refuseForeign(home, driver) }
        let isNew = exists ? try StoreFiles.isEmpty(home) : true
        facts = try OverlayFacts(place, userXattr: userXattr)
        support = OverlaySupport(home: place)
        basic = OverlayMountOptions(indexOff: OverlaySupport.hasIndex, userXattr: facts.usesUserAttributes)
        self.writer = writer
        do throws(LayerError) {
            // Whoever made the layers of a store has tried it there.
            let isKnown = isNew ? false : try Self.kernelListsOverlay()
            if !isKnown { try support.checkMount(lowers: lowerCount, options: basic) }
        } catch {
            throw DriverErrors.notSupported(
                driver, why: "an overlay cannot be mounted in \(place): \(error)",
                hint: ProcessState.effectiveUser == 0
                    ? "the file system must support overlay's upper directories, ext4 and xfs do" : "run it as root")
        }
        guard !facts.reportsFileTypes else { return }
        let problem = DriverErrors.noFileTypes(driver, home: home, fileSystem: facts.fileSystemName)
        // Docker 20.10 goes on with a store that is there already.
        if isNew { throw problem }
        configuration.log(.warning, problem.description)
    }

    /// Whether the running kernel has overlayfs, loaded or built in.
    private static func kernelListsOverlay() throws(LayerError) -> Bool {
        let list = try StoreFiles.read(PathBytes("/proc/filesystems")) ?? []
        return list.split(separator: UInt8(ascii: "\n")).contains { $0.elementsEqual(Array("nodev\toverlay".utf8)) }
    }

    /// The options of this store's mounts. Directories moved by other mounts stay readable; no mount of ours moves one
    /// by a redirect, so that an upper directory remains the difference.
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
        try overlay.mount(at: merged, relativeTo: home, api: support.api)
        guard let work = overlay.work else { return }
        do throws(LayerError) {
            // Copying up a directory in a user namespace needs the kernel's own work directory to be root's there.
            try writer.setOwner(work.appending("work"), owner)
        } catch {
            try? KernelMount.unmount(merged, .noFollow)
            guard error.code == .notFound else { throw error }
            // Such a mount takes no writes.
            throw LayerError(
                .noSpace, "mount the layer", path: merged,
                cause: .reason("overlayfs could not make its work directory, as on a full disk, and mounts read-only"),
                hint: "make room on the file system of \(work) (df, df -i), or see what the kernel's log says")
        }
    }
}
