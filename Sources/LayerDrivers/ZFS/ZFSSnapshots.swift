package import LayerModel
import LayerMounts
import LinuxIO

/// The datasets of containerd's snapshots: `<root>/<id>`, each with a snapshot `@committed` once it is a parent.
///
/// Who keeps the metadata knows which there are; nothing is listed but at the start.
package struct ZFSSnapshots: Sendable {
    /// The dataset that holds the others.
    package let root: String
    private let platform: ZFSPlatform
    private let tool: ZFSTool

    /// Says that a dataset is a snapshot of ours.
    private static let property = "ldiff:snapshot"
    private static let committed = "committed"

    /// Finds the dataset that is mounted at `home` or above, or takes the one that is named.
    ///
    /// Throws `driverUnavailable` where there is none, or no zfs.
    package init(
        home: PathBytes, root named: String?, log: @escaping @Sendable (DriverConfiguration.LogLevel, String) -> Void
    ) throws(LayerError) {
        platform = try ZFSPlatform.detect()
        root = if let named { named } else { try platform.dataset(holding: home.appending("snapshots")) }
        tool = ZFSTool(log: log)
    }

    package func name(_ id: Int64) -> String { "\(root)/\(id)" }

    private func committed(_ id: Int64) -> String { "\(name(id))@\(Self.committed)" }

    /// Makes the dataset of `id`, as a clone of what `parent` committed if there is one.
    package func create(_ id: Int64, parent: Int64?) throws(LayerError) {
        let settings = [
            "mountpoint=legacy", "canmount=noauto", "snapdir=hidden", "com.sun:auto-snapshot=false",
            "\(Self.property)=\(id)",
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
    package func freeze(_ id: Int64) throws(LayerError) {
        try attemptZFS("keep the state of the dataset", PathBytes(name(id))) { () throws(ZFSFailure) in
            do throws(ZFSFailure) {
                try tool.zfs(["snapshot", committed(id)])
            } catch {
                guard error.kind == .exists else { throw error }
                try tool.zfs(["destroy", committed(id)])
                try tool.zfs(["snapshot", committed(id)])
            }
        }
    }

    /// Destroys a dataset with its snapshot; a missing one is fine, whoever destroyed it.
    ///
    /// Throws `inUse` while clones of it exist, and where it stays mounted for longer than a second.
    package func destroy(_ id: Int64) throws(LayerError) {
        for attempt in 1... {
            do throws(ZFSFailure) {
                try tool.zfs(["destroy", "-r", name(id)])
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
    package func used(_ id: Int64) throws(LayerError) -> UInt64 {
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
    package func ids() throws(LayerError) -> [Int64] {
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
    package func whileMounted(_ id: Int64, at path: PathBytes, _ body: () throws(LayerError) -> Void)
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
