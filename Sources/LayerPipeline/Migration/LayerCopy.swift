import LayerCompression
import LayerDrivers
import LayerEngine
import LayerModel
import LinuxIO

/// Copies one layer from store to store and compares the two.
struct LayerCopy {
    private let migration: StoreMigration
    private let step: MigrationStep
    private let target: any LayerDriver

    init(_ migration: StoreMigration, _ step: MigrationStep, _ target: any LayerDriver) {
        self.migration = migration
        self.step = step
        self.target = target
    }

    private var source: any StoreReader { migration.source }

    /// Copies the layer unless the target has it; whether it was copied.
    func run(_ report: inout MigrationReport) throws(LayerError) -> Bool {
        guard try target.exists(step.id) else {
            try copyNew(&report)
            return true
        }
        let found = try fingerprint(of: target)
        let wanted = try fingerprint(of: source)
        // Made empty by hand, or by a version that made layers before it filled them.
        if found.entries == 0, wanted.entries > 0 {
            try copy(&report, asNew: false)
            return true
        }
        guard try isSame(wanted, found) else {
            throw different("remove it from the target with ldiff layer remove and run this again")
        }
        return false
    }

    /// Makes the layer with the limit that it has in the source, or without where the target knows of none.
    private func copyNew(_ report: inout MigrationReport) throws(LayerError) {
        guard let limit = try source.sizeLimit(of: step.id) else { return try copy(&report, asNew: true) }
        do throws(LayerError) { return try copy(&report, asNew: true, limit: limit) } catch {
            guard error.code == .unsupported || error.code == .invalidArgument, try !target.exists(step.id) else {
                throw error
            }
        }
        try copy(&report, asNew: true)
        report.lostLimits.append(step.id)
    }

    /// Docker calls the layer below a container's own `...-init`. Only the default size limit depends on the difference.
    private var isContainers: Bool {
        step.parent?.component.bytes.suffix(5).elementsEqual("-init".utf8) ?? false
    }

    private func different(_ hint: String) -> LayerError {
        LayerError(
            .corruptLayer, "compare the layer", path: step.id.component,
            cause: .reason("the layer in the target is not the one in the source"),
            hint: hint)
    }

    // MARK: copying

    /// What the reading thread found.
    private struct Sent {
        var diff: DiffReport
        var fingerprint: LayerFingerprint
    }

    /// Streams the layer from one store into the other, read on a thread of its own and unpacked on this one, and compares the
    /// two. A new layer that is not what it should be goes again.
    private func copy(_ report: inout MigrationReport, asNew isNew: Bool, limit: UInt64? = nil) throws(LayerError) {
        let pipe = SlabExchange()
        let outcome = Monitor<Result<Sent, LayerError>?>(nil)
        let (copy, progress) = (self, migration.progress.begin())
        let reader = try WorkerThread {
            let sent = Result { () throws(LayerError) in try copy.send(into: pipe, progress) }
            outcome.update { outcome in
                outcome = sent
                return ((), true)
            }
            switch sent {
            case .success: pipe.end(nil)
            case .failure(let error): pipe.end(error)
            }
        }
        var sent: Sent?
        let verify = { () throws(LayerError) in
            let found = try outcome.wait { $0 }.get()
            migration.progress.end()
            sent = found
            guard try isSame(found.fingerprint, try fingerprint(of: target)) else {
                throw different(
                    ProcessState.isInUserNamespace
                        ? "in a user namespace devices and some attributes cannot be copied: run as root of the host"
                        : "it was not kept; is something writing into the source?")
            }
        }
        do throws(LayerError) {
            var stream = SlabPipeSource(pipe)
            var options = ApplyOptions()
            options.cancel = migration.interruption.flag
            options.sparse = migration.sparse
            options.isExact = true
            options.applyRootMetadata = true
            if isNew {
                var creating = CreateOptions()
                if let limit { creating.storage = [StorageOption("size", String(limit))] }
                _ = try target.createLayer(
                    step.id, on: step.parent, from: &stream, creating: creating,
                    readWrite: isContainers || limit != nil, options: options, afterKeeping: verify)
            } else {
                _ = try target.applyDiff(step.id, onto: step.parent, from: &stream, options: options)
                try verify()
            }
        } catch {
            migration.interruption.beginCleaningUp()
            pipe.stop()
            reader.join()
            if sent == nil { migration.progress.end() }
            throw error
        }
        reader.join()
        guard let sent else { return }
        report.copiedBytes += sent.diff.bytes
        report.entries += UInt64(sent.diff.entries)
        report.skippedSockets += sent.diff.skippedSockets
        report.reservedNames += sent.diff.reservedNames
        report.leftOutAttributes.add(sent.diff.leftOutAttributes)
        report.unwritableAttributes.add(sent.diff.unwritableAttributes)
        // What a container writes to stays a directory.
        guard let erofs = target as? ErofsDriver, !isContainers else { return }
        _ = try erofs.packCopy(
            step.id, entries: UInt64(sent.diff.entries), bytes: sent.diff.bytes, cancel: migration.interruption.flag)
    }

    private func send(into pipe: SlabExchange, _ progress: Progress) throws(LayerError) -> Sent {
        var sink = FingerprintSink(SlabPipeSink(pipe))
        let diff = try source.diff(step.id, since: step.parent, options: difference(progress), into: &sink)
        try sink.finish()
        return Sent(diff: diff, fingerprint: sink.fingerprint)
    }

    private func difference(_ progress: Progress? = nil) -> DifferenceOptions {
        var options = DifferenceOptions()
        options.cancel = migration.interruption.flag
        options.progress = progress
        // The stream and what is compared alike, so that nothing is lost that the comparison does not look at.
        options.diff.isExact = true
        return options
    }

    // MARK: comparing

    private func fingerprint(of store: any StoreReader, _ profile: LayerProfile = .full, whole: Bool = false)
        throws(LayerError) -> LayerFingerprint
    {
        var options = difference(migration.progress.begin())
        defer { migration.progress.end() }
        options.diff.profile = profile
        var sink = FingerprintSink(NullSink())
        _ = try store.diff(step.id, since: whole ? nil : step.parent, options: options, into: &sink)
        try sink.finish()
        return sink.fingerprint
    }

    /// Whether the layers with these fingerprints are the same.
    ///
    /// A driver that compares trees names single deletions where another has an opaque directory, and leaves out what
    /// was written and is as before. So where the fingerprints differ the whole trees decide.
    private func isSame(_ sent: LayerFingerprint, _ found: LayerFingerprint) throws(LayerError) -> Bool {
        if sent == found { return true }
        return try fingerprint(of: source, whole: true) == fingerprint(of: target, whole: true)
    }
}
