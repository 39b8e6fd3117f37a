import LayerModel
import LayerMounts
import LinuxIO

/// The root of a mounted layer, held open: what is read through it is this layer's, or an error, whoever unmounts it meanwhile.
private final class ZFSRoot: Sendable {
    private let descriptor: OwnedDescriptor

    /// Opens the layer that `dataset` is where it is mounted at `point`; nil where something else, or nothing, can be seen there.
    init?(_ dataset: String, at point: PathBytes) throws(LayerError) {
        let opened = try attempt("open the layer", point) { () throws(SystemCallError) in
            try point.open([.readOnly, .directory])
        }
        let device = try attempt("open the layer", point) { () throws(SystemCallError) in
            try opened.metadata().device
        }
        // The mount table afterwards: a device's number is nobody else's while its root is open.
        let isRight = try MountTable.read().entries.contains { entry in
            entry.source == PathBytes(dataset) && entry.root == PathBytes("/") && ZFSPlatform.device(entry) == device
        }
        guard isRight else { return nil }
        descriptor = opened
    }

    /// Leads to it, in this process only; its last component is no link.
    var path: PathBytes { PathBytes("/proc/self/fd/\(descriptor.number)/.") }
}

/// A layer's tree in a store that is only looked at, on OpenZFS: read where it is mounted, or mounted where nobody else sees it.
final class ZFSLook: LayerLook {
    let path: PathBytes
    private let root: ZFSRoot?
    /// Nil where the layer is mounted anyway.
    private let mount: DetachedMount?

    init(_ dataset: String) throws(LayerError) {
        if let found = try Self.mounted(dataset) {
            (path, root, mount) = (found.path, found, nil)
        } else {
            let own = try DetachedMount(type: "zfs", source: PathBytes(dataset))
            (path, root, mount) = (own.path, nil, own)
        }
    }

    /// Where the dataset is mounted as a whole and can be seen.
    private static func mounted(_ dataset: String) throws(LayerError) -> ZFSRoot? {
        for entry in try MountTable.read().entries.reversed()
        where entry.fileSystem == "zfs" && entry.source == PathBytes(dataset) && entry.root == PathBytes("/") {
            if let found = try? ZFSRoot(dataset, at: entry.mountPoint) { return found }
        }
        return nil
    }
}

/// A layer's tree, mounted as usual for as long as this lives.
///
/// A driver reads so, and on zfs-fuse everybody must: it shows nothing but at the path that the dataset's property names.
final class ZFSMountedLook: LayerLook {
    let path: PathBytes
    /// Where it is mounted.
    let point: PathBytes
    private let root: Monitor<ZFSRoot?>
    private let id: LayerID
    private let mounts: ZFSMounts

    /// Throws `fileChanged` where somebody removes or unmounts the layer at this moment.
    init(_ id: LayerID, _ mounts: ZFSMounts, _ view: ZFSView) throws(LayerError) {
        point = try mounts.get(id, view, MountOptions(access: .looking)) {}
        do throws(LayerError) {
            guard let opened = try ZFSRoot(view.names.dataset(id), at: point) else {
                throw LayerError(
                    .fileChanged, "read the layer", path: id.component,
                    cause: .reason("it was removed or unmounted meanwhile"), hint: "try again, if the layer is there")
            }
            path = opened.path
            root = Monitor(opened)
        } catch {
            try? mounts.put(id)
            throw error
        }
        self.id = id
        self.mounts = mounts
    }

    /// Closed first: what is open keeps the mount.
    deinit {
        root.change { $0 = nil }
        try? mounts.put(id)
    }
}
