import LayerCompression
import LayerDrivers
import LayerEngine
import LayerModel
import LinuxIO

/// Copies one layer from store to store and compares the two.
struct LayerCopy {
    private let migration: StoreMigration
    private let step: MigrationStep

    init(_ migration: StoreMigration, _ step: MigrationStep) {
        self.migration = migration
        self.step = step
    }

    private var source: any LayerDriver { migration.source }
    private var target: any LayerDriver { migration.target }

    /// Copies the layer unless the target has it; whether it was copied.
    func run(_ report: inout MigrationReport) throws(LayerError) -> Bool {
        if target.exists(step.id) {
            let found = try fingerprint(of: target)
            let wanted = try fingerprint(of: source)
            // An earlier run was killed after it had made the layer.
            if found.entries == 0, wanted.entries > 0 {
                try copyAndVerify(&report)
                return true
            }
            guard try isSame(wanted, found) else { throw different() }
            return false
        }
        try create()
        do throws(LayerError) {
            try copyAndVerify(&report)
            return true
        } catch {
            migration.interruption.beginCleaningUp()
            throw StoreUndo.remove(step.id, from: target, after: error)
        }
    }

    /// Docker calls the layer below a container's own `...-init`. Only the default size limit depends on the difference.
    private func create() throws(LayerError) {
        if let parent = step.parent, parent.component.bytes.suffix(5) == Array("-init".utf8)[...] {
            try target.createReadWrite(step.id, parent: step.parent, options: CreateOptions())
        } else {
            try target.create(step.id, parent: step.parent, options: CreateOptions())
        }
    }

    private func copyAndVerify(_ report: inout MigrationReport) throws(LayerError) {
        let sent = try copy(&report)
        guard try isSame(sent, try fingerprint(of: target)) else { throw different() }
    }

    private func different() -> LayerError {
        LayerError(
            .corruptLayer, "compare the layer", path: step.id.component,
            cause: .reason("the layer in the target is not the one in the source"),
            hint: "remove it from the target with ldiff layer remove and run this again")
    }

    // MARK: copying

    /// What the reading thread found.
    private struct Sent {
        var diff: DiffReport
        var fingerprint: LayerFingerprint
    }

    /// Streams the layer from one store into the other: read on a thread of its own, unpacked on this one.
    private func copy(_ report: inout MigrationReport) throws(LayerError) -> LayerFingerprint {
        let pipe = SlabPipe()
        let outcome = Monitor<Result<Sent, LayerError>?>(nil)
        let (copy, progress) = (self, migration.progress.begin())
        defer { migration.progress.end() }
        let reader = try WorkerThread {
            let sent = Result { () throws(LayerError) in try copy.send(into: pipe, progress) }
            outcome.change { $0 = sent }
            switch sent {
            case .success: pipe.end(nil)
            case .failure(let error): pipe.end(error)
            }
        }
        do throws(LayerError) {
            var stream = SlabPipeSource(pipe)
            var options = ApplyOptions()
            options.cancel = migration.interruption.flag
            _ = try target.applyDiff(step.id, onto: step.parent, from: &stream, options: options)
        } catch {
            pipe.abandon()
            reader.join()
            throw error
        }
        reader.join()
        guard let sent = try outcome.change({ $0 })?.get() else {
            throw LayerError(.io, "copy the layer", path: step.id.component, cause: .reason("the reader did not end"))
        }
        report.copiedBytes += sent.diff.bytes
        report.entries += UInt64(sent.diff.entries)
        report.skippedSockets += sent.diff.skippedSockets
        return sent.fingerprint
    }

    private func send(into pipe: SlabPipe, _ progress: Progress) throws(LayerError) -> Sent {
        var sink = FingerprintSink(SlabPipeSink(pipe))
        let diff = try source.diff(step.id, since: step.parent, options: difference(progress), into: &sink)
        try sink.finish()
        return Sent(diff: diff, fingerprint: sink.fingerprint)
    }

    private func difference(_ progress: Progress? = nil) -> DifferenceOptions {
        var options = DifferenceOptions()
        options.cancel = migration.interruption.flag
        options.progress = progress
        return options
    }

    // MARK: comparing

    private func fingerprint(of driver: any LayerDriver, _ profile: LayerProfile = .full) throws(LayerError)
        -> LayerFingerprint
    {
        var options = difference(migration.progress.begin())
        defer { migration.progress.end() }
        options.diff.profile = profile
        var sink = FingerprintSink(NullSink())
        _ = try driver.diff(step.id, since: step.parent, options: options, into: &sink)
        try sink.finish()
        return sink.fingerprint
    }

    /// Whether the layers with these fingerprints are the same.
    ///
    /// A driver that compares trees names single deletions where another has an opaque directory, and leaves out what
    /// was written and is as before. So where the fingerprints differ the mounted trees decide; and where a store can
    /// be read but not mounted, as aufs's on most kernels, what comparing the views of both says.
    private func isSame(_ sent: LayerFingerprint, _ found: LayerFingerprint) throws(LayerError) -> Bool {
        guard sent != found else { return true }
        do throws(LayerError) {
            return try treesAreSame()
        } catch {
            guard error.code == .driverUnavailable || error.code == .unsupported else { throw error }
            return try fingerprint(of: source, .containerd) == fingerprint(of: target, .containerd)
        }
    }

    private func treesAreSame() throws(LayerError) -> Bool {
        let old = try source.mount(step.id, options: MountOptions(readOnly: true))
        let new = try target.mount(step.id, options: MountOptions(readOnly: true))
        var trees = target.newSource(new.path)
        trees.lowers = [old.path]
        trees.cancel = migration.interruption.flag
        trees.contents = .always
        let found = try DiffEngine.changes(trees) { (_, _) throws(LayerError) in }
        try old.release()
        try new.release()
        return found.added + found.modified + found.deleted == 0
    }
}
