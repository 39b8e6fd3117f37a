import LayerModel
import LayerMounts
import LinuxIO

/// The home directory of a store of the overlay family.
enum OverlayHome {
    /// Makes the home directory and `l` where they are missing, with the owners and modes of drivers.md 6.5.
    static func make(_ configuration: DriverConfiguration) throws(LayerError) {
        try StoreFiles.makeDirectory(
            configuration.home, mode: 0o710, owner: configuration.directoryOwner, parents: true)
        try StoreFiles.makeDirectory(configuration.home.appending("l"), mode: 0o700, owner: .current)
    }

    /// Unmounts every layer of the store, and nothing else: what an administrator mounted at the home directory stays (K7).
    static func unmountLayers(below home: PathBytes, _ references: MountReferences) throws(LayerError) {
        var first: LayerError?
        for entry in try MountTable.read().entries(atOrBelow: home).reversed() {
            guard let layer = entry.mountPoint.splitLast(), layer.name == PathBytes("merged"),
                let above = layer.directory.splitLast()?.directory,
                above == home || above == home.appending(Trash.directoryName)
            else { continue }
            do throws(LayerError) {
                try KernelMount.unmount(entry.mountPoint, [.detach, .noFollow])
                references.forget(entry.mountPoint)
                try StoreFiles.removeDirectory(entry.mountPoint)
            } catch {
                if first == nil { first = error }
            }
        }
        if let first { throw first }
    }
}
