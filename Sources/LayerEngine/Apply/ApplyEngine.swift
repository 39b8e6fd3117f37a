package import LayerModel
package import LinuxIO
import Synchronization
import TarCodec

/// Unpacks a layer's tar stream onto a tree or into an upper directory.
package enum ApplyEngine {
    /// Applies the stream to the directory `root`, which stays the caller's.
    ///
    /// Nothing outside the root is touched, whatever the archive says. After an error the root is as far as the
    /// archive had come, but no file in it is incomplete. Every thread started is ended before this returns.
    ///
    /// Throws `LayerError` with the entry's name: `.invalidArchive` and `.unsafePath` with the byte offset in the
    /// stream, `.limitExceeded`, `.idUnmapped`, `.cancelled`, or the code of the failed system call.
    package static func apply<Source: SlabSource & ~Copyable>(
        _ source: inout Source, root: borrowing OwnedDescriptor, options: ApplyOptions
    ) throws(LayerError) -> ApplyReport {
        let job = try ApplyJob(root: root, options: options)
        if options.io == .ring {
            // The kernel hands every creation to a thread of its own; see perf/notes.
            job.report.warn("io_uring is not used to unpack, since it hands every creation to a kernel thread")
        }
        do throws(LayerError) {
            try job.readArchive(&source)
            try job.finish()
        } catch {
            job.abandon()
            job.feed.release(&source)
            throw error
        }
        job.feed.release(&source)
        return job.report
    }
}

extension ApplyJob {
    /// Decodes the stream to its end.
    func readArchive<Source: SlabSource & ~Copyable>(_ source: inout Source) throws(LayerError) {
        var decoder = TarDecoder()
        while true {
            guard feed.available > 0 else {
                guard try nextSlab(&source) else {
                    try decode(decoder.entryOffset) { () throws(TarError) in try decoder.endOfInput() }
                    return
                }
                continue
            }
            switch try step(&decoder) {
            case .needMore: break
            case .end:
                try flush()
                let cancel = options.cancel
                try feed.drain(&source, limit: options.maxTrailingBytes) { () throws(LayerError) in try cancel.check() }
                return
            case .entry:
                try carryOut(&decoder, &source)
            }
        }
    }

    private func step(_ decoder: inout TarDecoder) throws(LayerError) -> TarDecoder.Step {
        guard let slab = feed.current else { return .needMore(atLeast: 1) }
        do throws(TarError) {
            let (consumed, step) = try decoder.step(slab.span(feed.position..<slab.end))
            feed.skip(consumed)
            return step
        } catch {
            throw Self.error(error, decoder)
        }
    }

    private func decode(_ offset: UInt64, _ body: () throws(TarError) -> Void) throws(LayerError) {
        do throws(TarError) {
            try body()
        } catch {
            throw LayerError(
                .invalidArchive, "apply", path: nil,
                cause: .archive(offset: error.offset, reason: error.reason.description))
        }
    }

    @inline(never)
    private static func error(_ error: TarError, _ decoder: borrowing TarDecoder) -> LayerError {
        let code: LayerError.Code = error.kind == .limitExceeded ? .limitExceeded : .invalidArchive
        return LayerError(
            code, "apply", path: nil, cause: .archive(offset: error.offset, reason: error.reason.description))
    }

    /// Moves on to the next slab once everything that reads the current one is handed over.
    func nextSlab<Source: SlabSource & ~Copyable>(_ source: inout Source, carry: Bool = false)
        throws(LayerError)
        -> Bool
    {
        try flush()
        try options.cancel.check()
        let more = try feed.advance(&source, carry: carry)
        if let progress = options.progress {
            progress.bytes.store(feed.streamBytes, ordering: .relaxed)
            progress.entries.store(UInt64(report.entries), ordering: .relaxed)
        }
        return more
    }

    private func carryOut<Source: SlabSource & ~Copyable>(_ decoder: inout TarDecoder, _ source: inout Source)
        throws(LayerError)
    {
        do throws(LayerError) {
            guard let target = try begin(decoder) else { return }
            if decoder.isSparse {
                try deliverSparse(target, &decoder, &source)
            } else {
                try deliver(target, &decoder, &source)
            }
        } catch {
            var error = error
            // An error of the source's own concerns the stream, not the entry that happened to need more of it.
            if error.path == nil, error.operation == "apply", error.code != .cancelled {
                error.path = PathBytes(decoder.name.copied())
            }
            throw error
        }
    }

    /// Hands the bytes of a regular file to a writer.
    private func deliver<Source: SlabSource & ~Copyable>(
        _ target: FileTarget, _ decoder: inout TarDecoder, _ source: inout Source
    ) throws(LayerError) {
        var job = target.job
        var left = decoder.storedByteCount
        while left > Int64(feed.available), left <= Int64(SlabSourceDefaults.headroom) {
            // A small file that continues in the next slab goes there as a whole.
            guard try nextSlab(&source, carry: true) else { return try truncated(&decoder) }
        }
        if left <= Int64(feed.available) {
            job.start = feed.position
            job.count = Int(left)
            try enqueue(job, attributesOf: decoder, slab: feed.current)
            feed.skip(job.count)
            decoder.advance(job.count)
            return
        }
        try flush()
        job.part = .first
        let lane = crew.lane(after: tree.nodes[Int(job.node)])
        while true {
            job.start = feed.position
            job.count = Int(min(left, Int64(feed.available)))
            left -= Int64(job.count)
            if left == 0 { job.part = .last }
            try enqueue(job, attributesOf: decoder, slab: feed.current)
            try flush(to: lane)
            feed.skip(job.count)
            decoder.advance(job.count)
            if left == 0 { return }
            job.part = .middle
            guard try nextSlab(&source) else { return try truncated(&decoder) }
        }
    }

    func truncated(_ decoder: inout TarDecoder) throws(LayerError) {
        try decode(decoder.entryOffset) { () throws(TarError) in try decoder.endOfInput() }
        throw refusal(.invalidArchive, "the archive ends inside a file")
    }
}
