import LayerModel
import LayerMounts

/// The size limits of writable layers, by xfs project quotas.
struct LayerQuota: Sendable {
    private let projects: ProjectQuota?
    private let defaultLimit: UInt64?

    /// Sets quotas up where the file system has them.
    ///
    /// Throws `unsupported` where a default limit was asked for and they cannot be had.
    init(_ configuration: DriverConfiguration, defaultLimit: UInt64?, fileSystem: String) throws(LayerError) {
        self.defaultLimit = defaultLimit
        guard fileSystem == "xfs" else {
            projects = nil
            guard defaultLimit == nil else {
                throw LayerError(
                    .unsupported, "limit layers", path: configuration.home,
                    cause: .reason(
                        "Storage Option overlay2.size only supported for backingFS XFS. Found \(fileSystem)"))
            }
            return
        }
        do throws(LayerError) {
            projects = try ProjectQuota(home: configuration.home)
        } catch {
            guard defaultLimit == nil else {
                throw LayerError(
                    .unsupported, "limit layers", path: configuration.home,
                    cause: .reason(
                        "Storage option overlay2.size not supported. Filesystem does not support Project Quota: \(error)"
                    ),
                    hint: "mount the file system with the option pquota")
            }
            projects = nil
        }
    }

    /// The limit that a layer's options ask for, or the default; nil for none.
    func limit(_ id: LayerID, _ storage: [StorageOption]) throws(LayerError) -> UInt64? {
        var limit = defaultLimit
        for option in storage {
            guard option.key.lowercased() == "size" else {
                throw DriverErrors.storageOption(id, "Unknown option \(option.key)")
            }
            limit = try DriverOption.byteCount(option.value)
        }
        guard let limit, limit > 0 else { return nil }
        guard projects != nil else {
            throw LayerError(
                .unsupported, "create the layer", path: id.component,
                cause: .reason(
                    "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"),
                hint: "leave the size out, or keep the store on xfs that is mounted with pquota")
        }
        return limit
    }

    /// Refuses any option: for layers that become read-only.
    static func refuse(_ id: LayerID, _ storage: [StorageOption]) throws(LayerError) {
        guard let first = storage.first else { return }
        throw DriverErrors.storageOption(
            id,
            first.key.lowercased() == "size"
                ? "--storage-opt size is only supported for ReadWrite Layers" : "Unknown option \(first.key)")
    }

    /// What limits a new layer's directory, before anything is made inside; nil for no limit.
    func limiting(_ id: LayerID, _ storage: [StorageOption]) throws(LayerError) -> LayerLimit? {
        guard let limit = try limit(id, storage) else { return nil }
        return { [projects] (directory) throws(LayerError) in try projects?.setLimit(directory, bytes: limit) }
    }

    /// What the quota counts for a layer, which takes no walk; nil where it has none.
    func usage(_ directory: PathBytes) -> DiskUsage? {
        guard let projects, let usage = try? projects.usage(of: directory) else { return nil }
        return DiskUsage(byteCount: usage.bytes, inodeCount: usage.inodes)
    }

    /// Frees a layer's project id.
    func clear(_ directory: PathBytes) { try? projects?.clear(directory) }
}
