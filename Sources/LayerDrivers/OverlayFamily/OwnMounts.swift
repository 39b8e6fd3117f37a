import LayerModel
import LayerMounts
import LinuxIO

extension MergedView {
    /// Whether the mount shows one of this store's layers at the place where that layer is mounted: an overlay over directories
    /// of the layer, or a server of fuse-overlayfs, which does not tell what it shows. Any other is somebody else's, wherever
    /// it lies.
    func owns(_ mount: MountEntry) -> Bool {
        guard let layer = mount.mountPoint.splitLast(), layer.name == PathBytes("merged"),
            let name = layer.directory.splitLast()?.name
        else { return false }
        guard isLayersPlace(name) else { return false }
        switch mount.fileSystem {
        case "fuse.fuse-overlayfs": return true
        case "overlay":
            let foreign = OverlayView.foreignMounts
            let id = name.bytes.starts(with: foreign) ? PathBytes(Array(name.bytes.dropFirst(foreign.count))) : name
            let directories = OverlayDirectories(mount)
            return directories.areUntold || (holdsPacked && directories.areDetached)
                || ownDirectories(LayerID(trusted: id)).contains { directories.contain($0) }
        default: return false
        }
    }

    /// Whether the store mounts at the `merged` of what is called `name`: that is a layer, or what is left of one after its
    /// contents went. Somebody's own directory may hold an overlay that looks the same.
    private func isLayersPlace(_ name: PathBytes) -> Bool {
        if name.bytes.starts(with: OverlayView.foreignMounts) { return true }
        let id = LayerID(trusted: name)
        if let form = try? form(of: id) {
            guard case .foreign = form else { return true }
        }
        guard let contents = ownDirectories(id).first else { return false }
        return !StoreFiles.mayBe { () throws(LayerError) in try StoreFiles.metadata(home.appending(contents)) != nil }
    }
}

/// The directories that an overlay was made of, as the mount table tells them.
private struct OverlayDirectories {
    private var paths: [[UInt8]] = []

    init(_ mount: MountEntry) {
        var isList = false
        for word in mount.superOptions.bytes.split(separator: UInt8(ascii: ",")) {
            let parts = word.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2 {
                isList = ["lowerdir", "lowerdir+", "upperdir", "workdir"].contains { parts[0].elementsEqual($0.utf8) }
            }
            // What follows a comma in a path belongs to it.
            guard isList, let value = parts.last else { continue }
            paths += value.split(separator: UInt8(ascii: ":")).map { $0.filter { $0 != UInt8(ascii: "\\") } }
        }
    }

    /// Whether they were named by descriptors, which says nothing.
    var areUntold: Bool {
        paths.contains { path in
            path.starts(with: "/proc/self/fd/".utf8) || path.allSatisfy { (0x30...0x39).contains($0) }
        }
    }

    /// Whether one lay at no path, or in a mount namespace that has ended.
    var areDetached: Bool {
        let place = Array("\(WorkArea.directoryName)/".utf8)
        return paths.contains { path in
            let name = path.split(separator: UInt8(ascii: "/")).last ?? []
            return path == [UInt8(ascii: "/")]
                || name.allSatisfy { (0x30...0x39).contains($0) }
                    && path.dropLast(name.count).suffix(place.count) == place[...]
        }
    }

    /// Whether one of them ends in `path`, a relative one.
    func contain(_ path: PathBytes) -> Bool {
        let wanted = path.bytes.filter { $0 != UInt8(ascii: "\\") }
        return paths.contains { path in
            path.suffix(wanted.count).elementsEqual(wanted)
                && (path.count == wanted.count || path[path.count - wanted.count - 1] == UInt8(ascii: "/"))
        }
    }
}
