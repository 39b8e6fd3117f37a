import LayerEngine
import LayerModel
import LayerMounts
import LinuxIO

/// What is known of overlayfs in one store without trying anything.
struct OverlayFacts: Sendable {
    let fileSystemName: String
    let reportsFileTypes: Bool
    /// Whether marks lie in `user.overlay.`.
    let usesUserAttributes: Bool

    /// Looks at the file system and the names at `place`, the home directory or one above it.
    ///
    /// `userXattr` says where the store's marks lie, for a store of another user namespace; nil: as mounts need it here.
    init(_ place: PathBytes, userXattr: Bool?) throws(LayerError) {
        fileSystemName = try FileSystemKind.of(place).name
        reportsFileTypes = try OverlaySupport.entriesHaveTypes(place)
        usesUserAttributes = userXattr ?? OverlaySupport.usesUserXattr
    }

    /// How marks are spelled in upper directories.
    var dialect: WhiteoutDialect { usesUserAttributes ? .overlayUserXattr : .overlay }

    /// Whether mounts copy metadata without contents by the kernel's default.
    var usesMetacopy: Bool { !usesUserAttributes && OverlaySupport.copiesMetadataOnly }

    /// Whether an upper directory alone tells the difference: marks can be read here, and are right. Redirects and
    /// metadata-only copies are followed, so they do not matter.
    var opaqueMarksAreSound: Bool {
        // Before Linux 4.8 the opaque mark was copied up with its directory.
        if ProcessState.isInUserNamespace, !usesUserAttributes { return false }
        return ProcessState.kernelVersion >= (4, 8)
    }
}

extension OverlayView {
    /// Refuses a directory that holds something which is no store of this driver: what is in it would be taken for layers.
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
        if driver == .overlay { return try refuseForOverlay(home, names, hasLinks) }
        let isPacked = names.contains(PathBytes(packedMark))
        if isPacked, driver != .erofs {
            throw LayerError(
                .invalidArgument, "open the store", path: home,
                cause: .reason("layers of it may be packed, which \(driver.rawValue) knows nothing of"),
                hint: "use --driver erofs")
        }
        if hasLinks, !isPacked, driver == .erofs {
            throw LayerError(
                .invalidArgument, "open the store", path: home,
                cause: .reason("it is a store of overlay2 or fuse-overlayfs, which must not hold packed layers"),
                hint: "name its driver, or copy the layers with ldiff layer migrate")
        }
        // Probes and the file system's own directory may be all there is.
        let isEmpty = names.allSatisfy { isReserved($0) || $0 == PathBytes("lost+found") }
        let hasNames = try hasLinks ? !StoreFiles.names(in: links).isEmpty : false
        guard !isEmpty || hasNames else { return }
        if hasLinks {
            if try OverlayHome.holdsLayers(home, names) { return }
            // The driver overlay works in such a directory, too, and `l` may be anybody's.
            if try OverlayHome.hasWorked(in: home), try !OverlayRootView.hasLayers(home, names) { return }
        }
        throw LayerError(
            .invalidArgument, "open the store", path: home,
            cause: .reason(
                hasLinks
                    ? "others keep something in it, and what is called l there names no layer"
                    : "it is not empty, and has no directory l as a store of \(driver.rawValue) has"),
            hint: "name the driver's own directory, such as /var/lib/docker/\(driver.rawValue)")
    }

    private static func refuseForOverlay(_ home: PathBytes, _ names: [PathBytes], _ hasLinks: Bool) throws(LayerError) {
        // A directory `l` is what anybody may have: it counts where it names layers, or nothing says that the home is overlay's.
        let holdsLayers = try OverlayRootView.hasLayers(home, names)
        let isOthers = hasLinks ? try OverlayHome.holdsLayers(home, names) : false
        guard !isOthers, !hasLinks || holdsLayers else {
            throw LayerError(
                .invalidArgument, "open the store", path: home,
                cause: .reason("it is laid out as overlay2's, not overlay's"), hint: "use --driver overlay2")
        }
        if names.allSatisfy({ OverlayRootView.isReserved($0) || $0 == PathBytes("lost+found") }) { return }
        if holdsLayers { return }
        if try OverlayHome.hasWorked(in: home) { return }
        throw LayerError(
            .invalidArgument, "open the store", path: home,
            cause: .reason("it is not empty, and holds no layer of the driver overlay"),
            hint: "name the driver's own directory, such as /var/lib/docker/overlay")
    }
}
