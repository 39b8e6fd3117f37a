import LayerCompression
package import LayerDrivers
import LayerEngine
import LayerFormats
package import LayerModel
package import LinuxIO
import Synchronization

/// A layer of a store, and whether it still is what it was made of.
package struct VerifiedLayer: Sendable {
    package var id: LayerID
    /// What the layer's tar must have, as Docker recorded it, or the store that keeps it; nil where that record cannot be read.
    package var diffID: Digest?
    /// Bytes of the tar that was read or rebuilt.
    package var bytes: UInt64
    /// What is wrong; the first are files that differ, if any do.
    package var problems: [LayerError]
    /// Files that differ beyond those that are named.
    package var unnamed: Int
}

/// Proves layers of a store: the tar of each is rebuilt from its files and the tar-split metadata that Docker's daemon keeps
/// beside the store, and must have the digest that Docker recorded. A layer that is kept as its own tar is read instead, and must
/// have the digest that it came with.
///
/// Nothing is written. What the layer's files have as owner, mode and attributes does not show in the tar, whose headers lie
/// in the metadata.
package struct StoreVerification: Sendable {
    private struct Job: Sendable {
        var id: LayerID
        /// What Docker says of it, if it does.
        var docker: Docker?
        /// The digest of the tar that the store keeps, if it does, and the layer that it was made on.
        var stored: (digest: Digest, parent: LayerID?)?
        /// Why that tar cannot be read.
        var problem: LayerError?
        var size: UInt64
    }

    private struct Docker: Sendable {
        var diffID: Digest
        var record: PathBytes
    }

    /// What the workers share.
    private final class Shared: Sendable {
        let next = Atomic<Int>(0)
        let results = Monitor<[Result<VerifiedLayer, LayerError>]>([])
    }

    private let store: any StoreReader
    private let jobs: [Job]
    /// Layers of the store that nothing is known of.
    package let unproven: [LayerID]
    /// Files that are named for each layer, at most.
    private static let named = 100

    package var count: Int { jobs.count }
    /// Bytes of all layers together, by the records.
    package var bytes: UInt64 { jobs.reduce(0) { $0 &+ $1.size } }

    /// Looks up what is known of the layers, or of those in `ids`.
    package init(_ store: any StoreReader, only ids: [LayerID] = []) throws(LayerError) {
        self.store = store
        let records = try DockerRecords(of: store)
        var jobs: [Job] = []
        var unproven: [LayerID] = []
        for id in ids.isEmpty ? try store.layers() : ids {
            guard try store.exists(id) else { throw DriverErrors.unknownLayer("check the layer", id) }
            var job = Job(id: id, size: 0)
            let parent = try store.parent(of: id)
            do throws(LayerError) {
                if let stream = try store.storedStream(of: id, since: parent) {
                    job.stored = (stream.digest, parent)
                    job.size = stream.byteCount
                }
            } catch {
                guard error.code == .corruptLayer || error.code == .notFound else { throw error }
                job.problem = error
            }
            if let record = records.directories[id], case let facts = try records.facts(record),
                let diffID = facts.diffID, Self.hasTarSplit(record), diffID != job.stored?.digest
            {
                job.docker = Docker(diffID: diffID, record: record)
                job.size += facts.size
            }
            let isKnown = job.docker != nil || job.stored != nil || job.problem != nil
            if isKnown { jobs.append(job) } else { unproven.append(id) }
        }
        // The largest first, so that no worker is left with it at the end.
        self.jobs = jobs.sorted { $0.size > $1.size }
        self.unproven = unproven
    }

    private static func hasTarSplit(_ record: PathBytes) -> Bool {
        ((try? DockerRecords.tarSplit(record).openRegular()) ?? nil) != nil
    }

    /// Proves the layers, several at a time, and calls `body` with each on the caller's thread.
    package func run(
        workers: Int?, interruption: Interruption = Interruption(), progress: Progress = Progress(),
        _ body: (VerifiedLayer) throws(LayerError) -> Void
    ) throws(LayerError) {
        let shared = Shared()
        progress.totalBytes.store(bytes, ordering: .relaxed)
        let threads = HelperThreads()
        defer {
            shared.next.store(jobs.count, ordering: .relaxed)
            threads.join()
        }
        for _ in 0..<min(WorkerPool(count: workers).count, jobs.count) {
            try threads.start { [self] in
                while true {
                    let index = shared.next.wrappingAdd(1, ordering: .relaxed).oldValue
                    guard index < jobs.count else { return }
                    let result = Result { () throws(LayerError) in
                        try verify(jobs[index], interruption.flag, progress)
                    }
                    shared.results.update { results in
                        results.append(result)
                        return ((), true)
                    }
                }
            }
        }
        for _ in jobs {
            let result = shared.results.wait { $0.isEmpty ? nil : $0.removeFirst() }
            do throws(LayerError) {
                try body(try result.get())
            } catch {
                if error.code != .cancelled { interruption.interrupt() }
                throw error
            }
        }
    }

    private func verify(_ job: Job, _ cancel: CancelFlag, _ progress: Progress) throws(LayerError) -> VerifiedLayer {
        var verified = VerifiedLayer(
            id: job.id, diffID: job.docker?.diffID ?? job.stored?.digest, bytes: 0, problems: [], unnamed: 0)
        if let problem = job.problem {
            verified.problems = [problem]
            return verified
        }
        do throws(LayerError) {
            if let (digest, parent) = job.stored {
                verified.bytes = try readStored(job.id, parent, digest, cancel, progress)
            }
            if let docker = job.docker { try rebuild(docker, &verified, cancel, progress) }
        } catch {
            guard error.code != .cancelled else { throw error }
            verified.problems.append(error)
        }
        return verified
    }

    /// Reads the tar that the store keeps; returns its length. Throws `digestMismatch` where it is another.
    private func readStored(
        _ id: LayerID, _ parent: LayerID?, _ digest: Digest, _ cancel: CancelFlag, _ progress: Progress
    ) throws(LayerError) -> UInt64 {
        guard let stream = try store.storedStream(of: id, since: parent) else {
            throw LayerError(
                .fileChanged, "verify", path: id.component, cause: .reason("it was unpacked meanwhile"),
                hint: "try again")
        }
        var sink = DigestSink(NullSink())
        let report = try stream.write(into: &sink, cancel: cancel, progress: progress)
        try sink.finish()
        guard sink.digest == digest else {
            throw LayerError(
                .digestMismatch, "verify", path: id.component,
                cause: .reason("its tar has another digest than it came with"),
                hint: "remove the layer and unpack it again")
        }
        return report.bytes
    }

    /// Rebuilds the tar from the layer's files.
    private func rebuild(
        _ job: Docker, _ verified: inout VerifiedLayer, _ cancel: CancelFlag, _ progress: Progress
    ) throws(LayerError) {
        var sink = DigestSink(NullSink())
        var found = (problems: [LayerError](), unnamed: 0)
        do throws(LayerError) {
            let files = try store.files(of: verified.id)
            let metadata = try OpenLayer(.file(DockerRecords.tarSplit(job.record)))
            var readerOptions = LayerReaderOptions()
            readerOptions.cancel = cancel
            var reader = try metadata.reader(options: readerOptions)
            var options = TarSplitAssemblerOptions()
            options.cancel = cancel
            options.progress = progress
            let assembly = try TarSplitAssembler.assemble(
                &reader, into: &sink, options: options,
                differs: { error in
                    if found.problems.count < Self.named { found.problems.append(error) } else { found.unnamed += 1 }
                },
                open: { (name) throws(LayerError) in try files.open(PathBytes(name)) })
            verified.bytes += assembly.bytes
            try sink.finish()
        } catch {
            guard error.code != .cancelled else { throw error }
            verified.problems = found.problems + [error]
            verified.unnamed = found.unnamed
            return
        }
        (verified.problems, verified.unnamed) = found
        if found.problems.isEmpty, let digest = sink.digest, digest != job.diffID {
            verified.problems = [
                LayerError(
                    .digestMismatch, "verify", path: DockerRecords.tarSplit(job.record),
                    cause: .reason("the layer's tar has the digest \(digest), not \(job.diffID)"),
                    hint: "its files are what they were, so the metadata or the record of the digest are not")
            ]
        }
    }
}
