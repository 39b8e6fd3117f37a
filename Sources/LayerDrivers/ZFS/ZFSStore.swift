import LayerModel
import LayerMounts
import LinuxIO

/// Makes and destroys the datasets of a store: one below the root dataset for each layer.
///
/// A dataset is made with all its properties in one step, so it is either there as a whole or not at all. A layer on a
/// parent is a clone of a snapshot of the parent, which is marked to go when its last clone goes. Nothing is ever destroyed
/// together with what lies in it or was made of it: zfs itself refuses where there is more than was known to be ours.
struct ZFSStore: Sendable {
    let view: ZFSView
    let tool: ZFSTool
    let log: @Sendable (DriverConfiguration.LogLevel, String) -> Void

    var names: ZFSNames { view.names }

    // MARK: making

    /// The properties of the layer `id`, as arguments of what makes it.
    private static func settings(_ id: LayerID, quota: String?) -> [String] {
        var properties = [
            "mountpoint=legacy", "canmount=noauto", "snapdir=hidden", "com.sun:auto-snapshot=false",
            "\(ZFSNames.property)=\(ZFSNames.text(id))",
        ]
        if let quota { properties.append("quota=\(quota)") }
        return properties.flatMap { ["-o", $0] }
    }

    /// What a snapshot or dataset carries that is there for a while only.
    private static let makerSetting = ["-o", "\(ZFSNames.maker)=\(ZFSMaker.current.text)"]

    /// Makes the layer `id`, as a clone of `parent` if there is one. A failure leaves nothing behind.
    ///
    /// What is called so already is never touched: not the layer, nor its clones (K10).
    func create(_ id: LayerID, parent: LayerID?, quota: String?) throws(LayerError) {
        try names.validate(id)
        let origin = try make(names.dataset(id), id, parent, Self.settings(id, quota: quota))
        var made = ZFSDataset(name: names.dataset(id))
        made.kind = .fileSystem
        made.origin = origin
        made.mountpoint = PathBytes("legacy")
        made.hasOwnMountpoint = true
        made.layer = ZFSNames.text(id)
        view.remember(id, made)
    }

    /// Makes a dataset that becomes the layer `id` with `publish`, and is none before.
    func build(_ id: LayerID, parent: LayerID?, quota: String?) throws(LayerError) -> String {
        try names.validate(id)
        let dataset = names.newMaking()
        ZFSMaker.begin(dataset)
        do throws(LayerError) {
            _ = try make(dataset, id, parent, Self.settings(id, quota: quota) + Self.makerSetting)
            return dataset
        } catch {
            ZFSMaker.end(dataset)
            throw error
        }
    }

    /// Makes a dataset; returns the snapshot that it is a clone of.
    private func make(
        _ dataset: String, _ id: LayerID, _ parent: LayerID?, _ settings: [String]
    ) throws(LayerError) -> String? {
        do throws(ZFSFailure) {
            guard let parent else {
                try tool.zfs(["create"] + settings + [dataset])
                return nil
            }
            let origin = names.newOrigin(in: parent)
            try clone(dataset, of: origin, settings)
            return origin
        } catch {
            switch error.kind {
            case .exists: throw DriverErrors.exists(id)
            case .missing:
                if let parent {
                    view.forget(parent)
                    throw DriverErrors.unknownLayer("create a layer on the parent", parent)
                }
                throw error.error("create the layer", id.component)
            default: throw error.error("create the layer", id.component)
            }
        }
    }

    private func clone(_ dataset: String, of origin: String, _ settings: [String]) throws(ZFSFailure) {
        ZFSMaker.begin(origin)
        defer { ZFSMaker.end(origin) }
        try tool.zfs(
            ["snapshot", "-o", "\(ZFSNames.purpose)=\(ZFSNames.Purpose.clone.rawValue)"] + Self.makerSetting + [origin])
        do throws(ZFSFailure) {
            try tool.zfs(["clone"] + settings + [origin, dataset])
        } catch {
            _ = dropSnapshot(origin)
            throw error
        }
        _ = dropSnapshot(origin)
    }

    /// Keeps the state of a layer while something is unpacked into it.
    ///
    /// Throws `inUse` where somebody else is unpacking into the layer, or did so and was killed (`check` mends that).
    func beginApply(_ id: LayerID) throws(LayerError) {
        let snapshot = names.applySnapshot(id)
        do throws(ZFSFailure) {
            try tool.zfs(
                ["snapshot", "-o", "\(ZFSNames.purpose)=\(ZFSNames.Purpose.apply.rawValue)"] + Self.makerSetting
                    + [snapshot])
        } catch {
            guard error.kind == .exists else { throw error.error("apply the layer", id.component) }
            throw LayerError(
                .inUse, "apply the layer", path: id.component,
                cause: .reason("another layer is being unpacked into it, or was when its process ended (\(snapshot))"),
                hint: "ldiff layer check --repair takes back what a crash left")
        }
        ZFSMaker.begin(snapshot)
    }

    /// What was unpacked stays.
    func endApply(_ id: LayerID) throws(LayerError) {
        let snapshot = names.applySnapshot(id)
        _ = try attemptZFS("apply the layer", id.component) { () throws(ZFSFailure) in
            try tool.zfs(["destroy", snapshot])
        }
        ZFSMaker.end(snapshot)
    }

    /// Brings a layer back to its state before something was unpacked into it.
    func takeBackApply(_ id: LayerID) throws(LayerError) {
        let snapshot = names.applySnapshot(id)
        do throws(ZFSFailure) {
            try whileBusy { () throws(ZFSFailure) in
                try tool.zfs(["rollback", snapshot])
                try tool.zfs(["destroy", snapshot])
            }
        } catch {
            guard error.kind != .missing else { return ZFSMaker.end(snapshot) }
            throw error.error(
                "take back what was unpacked into", id.component,
                hint: "zfs list -t snapshot shows later snapshots of the layer, which keep zfs from doing so; destroy "
                    + "them, and run ldiff layer check --repair")
        }
        ZFSMaker.end(snapshot)
    }

    /// Makes a dataset of `build` the layer `id`, in one step. It must not be mounted.
    ///
    /// Throws `alreadyExists` where somebody else made one, or has a dataset of this name.
    func publish(_ building: String, as id: LayerID) throws(LayerError) {
        do throws(ZFSFailure) {
            try whileBusy { () throws(ZFSFailure) in try tool.zfs(["rename", building, names.dataset(id)]) }
        } catch {
            if error.kind == .exists { throw DriverErrors.exists(id) }
            throw error.error("create the layer", id.component)
        }
        ZFSMaker.end(building)
    }

    /// What was unmounted a moment ago is busy for a while.
    private func whileBusy(_ body: () throws(ZFSFailure) -> Void) throws(ZFSFailure) {
        for attempt in 1... {
            do throws(ZFSFailure) { return try body() } catch {
                guard error.kind == .busy, attempt < 2 * Self.tries else { throw error }
                ProcessState.sleep(milliseconds: Self.pause)
            }
        }
    }

    // MARK: destroying

    /// Destroys a snapshot now, or with its last clone. False where that failed, which is logged.
    func dropSnapshot(_ snapshot: String) -> Bool {
        do throws(ZFSFailure) {
            try tool.zfs(["destroy", "-d", snapshot])
            return true
        } catch {
            if error.kind == .missing { return true }
            log(.warning, "zfs: destroying the snapshot \(snapshot): \(error.text)")
            return false
        }
    }

    /// Destroys the layer's dataset with our snapshots of it; an unknown one is fine (K10), and what is no layer stays.
    ///
    /// One that is busy is tried again for a second; then it is renamed out of the way, so that the layer is gone for
    /// callers, and destroyed later. `unmount` runs before each try, once it is known that nothing else keeps the layer.
    ///
    /// Returns whether there was such a layer, and it is destroyed.
    ///
    /// Throws `inUse` where other layers, or anything that is not ours, depend on it: then nothing was changed.
    func destroy(_ id: LayerID, unmount: () throws(LayerError) -> Void) throws(LayerError) -> Bool {
        let dataset = names.dataset(id)
        var last: ZFSFailure?
        // Not `whileBusy`: what the layer is must be proven anew before each try.
        for attempt in 0..<Self.tries {
            if attempt > 0 { ProcessState.sleep(milliseconds: Self.pause) }
            let found = try view.prove(id, recursive: true)
            guard !found.isEmpty else {
                log(.debug, "no layer \(id) to remove")
                return false
            }
            let ours = try ZFSBelongings(found, view).ours(of: id, wasRefused: last?.kind == .dependentClones)
            try unmount()
            do throws(ZFSFailure) {
                try destroy(dataset, with: ours)
                view.forget(id)
                return true
            } catch {
                switch error.kind {
                // Also where something came since it was looked at: the next look says what.
                case .busy, .dependentClones: last = error
                default: throw error.error("remove the layer", id.component)
                }
            }
        }
        if let last { try setAside(id, after: last) }
        return false
    }

    /// Destroys a dataset, its snapshots first; one that is gone is fine.
    private func destroy(_ dataset: String, with snapshots: [String]) throws(ZFSFailure) {
        for name in snapshots + [dataset] {
            do throws(ZFSFailure) { try tool.zfs(["destroy", name]) } catch {
                guard error.kind == .missing else { throw error }
            }
        }
    }

    /// Takes a busy layer's name from it. The mark comes first, so that what is renamed is known for what it is.
    private func setAside(_ id: LayerID, after last: ZFSFailure) throws(LayerError) {
        let (dataset, aside) = (names.dataset(id), names.newRemoving())
        let holders = ZFSHolders.text(of: dataset)
        do throws(ZFSFailure) {
            guard last.kind == .busy else { throw last }
            try tool.zfs(["set", "\(ZFSNames.removed)=\(ZFSMaker.current.text)", dataset])
            try tool.zfs(["rename", dataset, aside])
        } catch {
            if error.kind == .missing { return view.forget(id) }
            if last.kind == .busy { _ = try? tool.zfs(["inherit", ZFSNames.removed, dataset]) }
            throw last.error("remove the layer", id.component, hint: holders ?? "see who uses it, and try again")
        }
        view.forget(id)
        log(
            .warning,
            "zfs: \(dataset) is busy and will be destroyed later, as \(aside)" + (holders.map { ": " + $0 } ?? ""))
    }

    /// Destroys a dataset of ours that is no layer: one that was being made, or that is removed. A missing one is fine.
    ///
    /// Throws `inUse` where something that is not ours depends on it, or it is busy.
    func destroyLeftover(_ name: String) throws(LayerError) {
        let text: [UInt8]
        do throws(ZFSFailure) { text = try tool.query.get(ZFSDataset.query(recursive: true) + [name]) } catch {
            guard error.kind != .missing else { return }
            throw error.error("look at", PathBytes(name))
        }
        let belongings = try ZFSBelongings(ZFSDataset.parse(text), view)
        let ours = try belongings.ours(of: nil)
        do throws(ZFSFailure) {
            try whileBusy { () throws(ZFSFailure) in try destroy(name, with: ours) }
        } catch {
            throw error.error("destroy", PathBytes(name), hint: ZFSHolders.text(of: name))
        }
        ZFSMaker.end(name)
    }

    /// How often what is busy is tried, and the milliseconds between.
    private static let tries = 10
    private static let pause: UInt32 = 100
}
