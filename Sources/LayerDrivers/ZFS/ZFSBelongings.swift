import LayerModel
import LayerMounts
import LinuxIO

/// What lies in a dataset or was made of it: our snapshots, which go with it, and all else, for which it must stay.
struct ZFSBelongings {
    private let dataset: ZFSDataset
    private let others: ArraySlice<ZFSDataset>
    private let view: ZFSView

    /// Takes the listing of a dataset with all below it, itself first.
    init(_ listing: [ZFSDataset], _ view: ZFSView) throws(LayerError) {
        guard let first = listing.first else { throw LayerError(.notFound, "look at a dataset") }
        dataset = first
        others = listing.dropFirst()
        self.view = view
    }

    /// Our snapshots of it, which may be destroyed with it. `id` is whose layer it is, for messages; `wasRefused` says that zfs
    /// would not destroy them.
    ///
    /// Throws `inUse`, with what it is and what to do, where anything else depends on it.
    func ours(of id: LayerID?, wasRefused: Bool = false) throws(LayerError) -> [String] {
        let inside = others.filter { $0.kind != .snapshot && $0.name.hasPrefix(dataset.name + "/") }
        if !inside.isEmpty {
            throw refusal(
                id, "datasets that are no layers lie in it: \(Self.list(inside))",
                "move them with zfs rename, or destroy them if they are no longer needed")
        }
        var ours: [String] = []
        var (foreign, deferred): ([ZFSDataset], [ZFSDataset]) = ([], [])
        for snapshot in others where snapshot.kind == .snapshot {
            // Destroyed already but for its clones, and for those who hold it.
            if snapshot.isDeferred {
                deferred.append(snapshot)
            } else if !snapshot.isOurSnapshot {
                foreign.append(snapshot)
            } else {
                try refuseIfHeld(snapshot, id)
                if snapshot.purpose != nil, snapshot.makerState != .gone { throw atWork(snapshot, id) }
                ours.append(snapshot.name)
            }
        }
        let clones = deferred.isEmpty && foreign.isEmpty && !wasRefused ? [] : view.clones(of: dataset.name)
        if !clones.isEmpty { throw dependentClones(clones, id) }
        if !foreign.isEmpty {
            throw refusal(
                id, "it has snapshots that this program did not make: \(Self.list(foreign))",
                "zfs destroy removes those that are no longer needed")
        }
        for snapshot in deferred {
            try refuseIfHeld(snapshot, id)
            // Its last clone has gone since it was listed, and it with that.
        }
        return ours
    }

    private func dependentClones(_ clones: [String], _ id: LayerID?) -> LayerError {
        let layers = clones.filter { clone in view.names.layer(clone).map(view.isKnown) ?? false }
        let foreign = clones.filter { !layers.contains($0) }
        guard foreign.isEmpty else {
            return refusal(
                id, "it has dependent clones that are no layers: \(foreign.joined(separator: ", "))",
                "zfs promote makes them independent of it, zfs destroy removes them if they are no longer needed")
        }
        return refusal(
            id, "it has dependent clones, the layers that were made on it: \(layers.joined(separator: ", "))",
            "remove the layers made on it first")
    }

    private func refuseIfHeld(_ snapshot: ZFSDataset, _ id: LayerID?) throws(LayerError) {
        guard snapshot.holds > 0 else { return }
        throw refusal(
            id, "its snapshot \(snapshot.name) is held", "zfs holds shows by whom, zfs release gives it free")
    }

    private func atWork(_ snapshot: ZFSDataset, _ id: LayerID?) -> LayerError {
        let what = snapshot.purpose == .apply ? "something is being unpacked into it" : "a layer is being made on it"
        let why = snapshot.makerState == .alive ? "" : ", or was by a process of another PID namespace"
        return refusal(
            id, what + why + " (\(snapshot.name))",
            "try again when that is done; ldiff layer check tells what a crash left")
    }

    private func refusal(_ id: LayerID?, _ why: String, _ hint: String) -> LayerError {
        LayerError(
            .inUse, id == nil ? "destroy the dataset" : "remove the layer",
            path: id?.component ?? PathBytes(dataset.name),
            cause: .reason(why), hint: hint)
    }

    private static func list(_ datasets: [ZFSDataset]) -> String {
        let names = datasets.map(\.name)
        return names.prefix(5).joined(separator: ", ") + (names.count > 5 ? " and \(names.count - 5) more" : "")
    }
}

/// Who keeps a dataset busy: mounts of it in other mount namespaces.
enum ZFSHolders {
    /// Processes that have `dataset` mounted, one for each mount namespace; nil where none is found.
    static func text(of dataset: String) -> String? {
        var seen: Set<String> = []
        var holders: [String] = []
        // Without /proc nobody is found, which only the message lacks.
        try? ProcessList.forEach { (process, directory) in
            guard let space = try? StoreFiles.readLink(directory.appending("ns/mnt"))?.description,
                seen.insert(space).inserted,
                let text = try? StoreFiles.read(directory.appending("mountinfo")),
                let table = MountTable(parsing: text),
                let mount = table.entries.last(where: { $0.source == PathBytes(dataset) })
            else { return true }
            holders.append("process \(process) has it mounted at \(mount.mountPoint)")
            return holders.count < 5
        }
        return holders.isEmpty ? nil : holders.joined(separator: ", ")
    }
}
