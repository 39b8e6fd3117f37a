public import LayerModel
import LayerMounts
import LinuxIO

/// The datasets of containerd's snapshots: `<root>/<id>`, each with a snapshot `@committed` once it is a parent.
///
/// Who keeps the metadata knows which there are; nothing is listed but at the start. Whatever is destroyed carries our property:
/// what is only called like a dataset of ours is somebody else's.
public struct ZFSSnapshots: Sendable {
    /// The dataset that holds the others.
    public let root: String
    private let platform: ZFSPlatform
    private let tool: ZFSTool

    /// Says that a dataset is a snapshot of ours.
    static let property = "ldiff:snapshot"
    private static let committed = "committed"

    /// Finds the dataset that is mounted at `home` or above, or takes the one that is named.
    ///
    /// Throws `driverUnavailable` where there is none, or no zfs.
    public init(
        home: PathBytes, root named: String?, log: @escaping @Sendable (DriverConfiguration.LogLevel, String) -> Void
    ) throws(LayerError) {
        platform = try ZFSPlatform.detect()
        root = if let named { named } else { try platform.dataset(holding: home.appending("snapshots")) }
        tool = ZFSTool(log: log)
    }

    public func name(_ id: Int64) -> String { "\(root)/\(id)" }

    private func committed(_ id: Int64) -> String { "\(name(id))@\(Self.committed)" }

    /// Makes the dataset of `id`, as a clone of what `parent` committed if there is one.
    public func create(_ id: Int64, parent: Int64?) throws(LayerError) {
        let settings = [
            "mountpoint=legacy", "canmount=noauto", "snapdir=hidden", "com.sun:auto-snapshot=false",
            "\(Self.property)=\(id)", "\(ZFSNames.maker)=\(ZFSMaker.current.text)",
        ].flatMap { ["-o", $0] }
        let path = PathBytes(name(id))
        _ = try attemptZFS("make the dataset", path) { () throws(ZFSFailure) in
            if let parent {
                try tool.zfs(["clone"] + settings + [committed(parent), name(id)])
            } else {
                try tool.zfs(["create"] + settings + [name(id)])
            }
        }
    }

    /// Keeps the state of a dataset for its clones. One that was kept by a try that failed later is replaced.
    ///
    /// Throws `inUse` where somebody else has a snapshot of this name.
    public func freeze(_ id: Int64) throws(LayerError) {
        let path = PathBytes(name(id))
        let command = ["snapshot", "-o", "\(Self.property)=\(id)", committed(id)]
        do throws(ZFSFailure) {
            try tool.zfs(command)
            return
        } catch {
            guard error.kind == .exists else { throw error.error("keep the state of the dataset", path) }
        }
        let listing = try listing(id)
        guard let dataset = listing.first, let kept = listing.first(where: { $0.name == committed(id) }),
            isOurs(kept, of: dataset, id)
        else {
            throw LayerError(
                .inUse, "keep the state of the dataset", path: path,
                cause: .reason("somebody else has made a snapshot \(committed(id))"),
                hint: "zfs rename gives it another name")
        }
        try attemptZFS("keep the state of the dataset", path) { () throws(ZFSFailure) in
            try tool.zfs(["destroy", committed(id)])
            try tool.zfs(command)
        }
    }

    /// The dataset of `id` with its snapshots and what lies in it behind it; nothing where there is none.
    private func listing(_ id: Int64) throws(LayerError) -> [ZFSDataset] {
        let text: [UInt8]
        do throws(ZFSFailure) {
            text = try tool.query.get(ZFSDataset.query(recursive: true) + [name(id)])
        } catch {
            guard error.kind != .missing else { return [] }
            throw error.error("look at the dataset", PathBytes(name(id)))
        }
        return try ZFSDataset.parse(text)
    }

    /// Earlier versions gave their snapshots no property, and their datasets no maker.
    private func isOurs(_ snapshot: ZFSDataset, of dataset: ZFSDataset, _ id: Int64) -> Bool {
        snapshot.name == committed(id) && dataset.snapshot == String(id)
            && (snapshot.snapshot == String(id) || snapshot.snapshot == nil && dataset.maker == nil)
    }

    /// Destroys a dataset with its snapshot; a missing one is fine, whoever destroyed it, and what is none of ours stays.
    ///
    /// Throws `inUse` while clones of it exist, or snapshots and datasets that are not ours, and where it stays mounted for longer
    /// than a second.
    public func destroy(_ id: Int64) throws(LayerError) {
        for attempt in 1... {
            let listing = try listing(id)
            guard let dataset = listing.first, dataset.kind == .fileSystem, dataset.snapshot == String(id) else {
                return
            }
            let others = listing.dropFirst().filter { !$0.isDeferred && !isOurs($0, of: dataset, id) }
            guard others.isEmpty else {
                throw LayerError(
                    .inUse, "destroy the dataset", path: PathBytes(name(id)),
                    cause: .reason("this program did not make \(others.map(\.name).joined(separator: ", "))"),
                    hint: "zfs destroy removes what is no longer needed")
            }
            do throws(ZFSFailure) {
                for snapshot in listing.dropFirst() where !snapshot.isDeferred {
                    try tool.zfs(["destroy", snapshot.name])
                }
                try tool.zfs(["destroy", name(id)])
                return
            } catch {
                if error.kind == .missing { return }
                guard error.kind == .busy, attempt < 12 else {
                    throw error.error("destroy the dataset", PathBytes(name(id)), hint: ZFSHolders.text(of: name(id)))
                }
                ProcessState.sleep(milliseconds: 100)
            }
        }
    }

    /// Bytes that a dataset has and its parent has not.
    public func used(_ id: Int64) throws(LayerError) -> UInt64 {
        let path = PathBytes(name(id))
        let text = try attemptZFS("measure the dataset", path) { () throws(ZFSFailure) in
            try tool.zfs(["get", "-Hp", "-o", "value", "used", name(id)])
        }
        let digits = String(decoding: text, as: UTF8.self).prefix { $0 != "\n" }
        guard let used = UInt64(digits) else {
            throw LayerError(.io, "measure the dataset", path: path, cause: .reason("'\(digits)' is no number"))
        }
        return used
    }

    /// The ids of all datasets of ours, in one command.
    public func ids() throws(LayerError) -> [Int64] {
        let text = try attemptZFS("list the datasets below", PathBytes(root)) { () throws(ZFSFailure) in
            try tool.zfs(["get", "-rHp", "-o", "name,value", "-s", "local", Self.property, root])
        }
        return text.split(separator: UInt8(ascii: "\n")).compactMap { line in
            let fields = line.split(separator: UInt8(ascii: "\t"), omittingEmptySubsequences: false)
            guard fields.count == 2, let id = Int64(String(decoding: fields[1], as: UTF8.self)),
                fields[0].elementsEqual(name(id).utf8)
            else { return nil }
            return id
        }
    }

    /// Mounts a dataset at an existing directory for the time of `body`.
    public func whileMounted(_ id: Int64, at path: PathBytes, _ body: () throws(LayerError) -> Void)
        throws(LayerError)
    {
        var mountpoint = PathBytes("legacy")
        try platform.mount(
            name(id), at: path, mountpoint: &mountpoint, options: ZFSOptions(), label: "", noAccessTimes: false,
            tool: tool)
        do throws(LayerError) {
            try body()
        } catch {
            try? ZFSPlatform.unmount(path)
            throw error
        }
        try ZFSPlatform.unmount(path)
    }
}
