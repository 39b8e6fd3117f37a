import LayerModel
import LayerRules
import LinuxIO
import TarCodec

/// The stream's way through the decoder.
extension ApplyJob {
    /// Takes the stream to its end, and everything in it to the target.
    mutating func run<Source: SlabSource & ~Copyable>(_ source: inout Source) throws(LayerError) {
        try readArchive(&source)
        try finish()
    }

    mutating func readArchive<Source: SlabSource & ~Copyable>(_ source: inout Source) throws(LayerError) {
        let files = target.files
        var decoder = TarDecoder()
        while true {
            guard files.available > 0 else {
                guard try files.nextSlab(&source) else { return try endOfInput(&decoder) }
                continue
            }
            let step: TarDecoder.Step
            do throws(TarError) { step = try files.step(&decoder) } catch { throw LayerError(error) }
            switch step {
            case .needMore: break
            case .end: return try files.readTrailer(&source)
            case .entry: try carryOut(&decoder, &source)
            }
        }
    }

    private mutating func carryOut<Source: SlabSource & ~Copyable>(_ decoder: inout TarDecoder, _ source: inout Source)
        throws(LayerError)
    {
        do throws(LayerError) {
            guard let file = try carryOutHeader(of: decoder) else { return }
            let isWhole =
                decoder.isSparse
                ? try writeSparse(file, &decoder, &source) : try target.files.deliver(file, &decoder, &source)
            guard isWhole else {
                try endOfInput(&decoder)
                throw target.log.refusal(.endsInFile)
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

    /// Throws if the archive may not end where the stream does.
    private func endOfInput(_ decoder: inout TarDecoder) throws(LayerError) {
        do throws(TarError) {
            try decoder.endOfInput()
        } catch {
            var error = LayerError(error)
            error.code = .invalidArchive
            throw error
        }
    }

    // MARK: files that the archive itself has with holes

    /// Writes a sparse file: its data extents at their places, holes never. False if the stream ends before it does.
    ///
    /// It stays open from its making to its end, so that nobody can put something else in its place.
    private func writeSparse<Source: SlabSource & ~Copyable>(
        _ target: FileTarget, _ decoder: inout TarDecoder, _ source: inout Source
    ) throws(LayerError) -> Bool {
        let job = target.job
        let handle = try self.target.entries.handle(job.node)
        let arena = self.target.tree.arena
        self.target.log.report.io.creates += 1
        let file = try attempt { () throws(SystemCallError) in
            try handle.descriptor.open(
                arena.pointer(job.name), [.create, .exclusive, .noFollow, .writeOnly], mode: job.mode & 0o777)
        }
        do throws(LayerError) {
            for index in 0..<decoder.sparseExtentCount {
                let (offset, length) = decoder.sparseExtent(index)
                guard try write(length, at: offset, of: file, &decoder, &source) else {
                    try? handle.descriptor.unlink(arena.pointer(job.name))
                    return false
                }
            }
            try finishSparse(file, target, decoder)
            return true
        } catch {
            try? handle.descriptor.unlink(arena.pointer(job.name))
            throw error
        }
    }

    /// Writes the next `length` bytes of the stream to one place in a file.
    private func write<Source: SlabSource & ~Copyable>(
        _ length: Int64, at offset: Int64, of file: borrowing OwnedDescriptor, _ decoder: inout TarDecoder,
        _ source: inout Source
    ) throws(LayerError) -> Bool {
        let files = target.files
        var contents = SparseWriter(target.options.sparse, at: offset)
        var left = length
        while left > 0 {
            if files.available == 0, try !files.nextSlab(&source) { return false }
            left -= try files.take(left, &decoder) { (bytes) throws(SystemCallError) in
                try contents.write(bytes, to: file)
            }
        }
        try attempt { () throws(SystemCallError) in try contents.settle(file) }
        target.log.report.io.bytesWritten += UInt64(contents.writtenBytes)
        return true
    }

    /// Size, then what writing has cleared: owner, attributes, mode, times.
    private func finishSparse(_ file: borrowing OwnedDescriptor, _ made: FileTarget, _ decoder: borrowing TarDecoder)
        throws(LayerError)
    {
        let (job, entries) = (made.job, target.entries)
        try attempt { () throws(SystemCallError) in try file.truncate(to: job.size) }
        if job.setsOwner { try entries.setOwner(Owner(uid: job.uid, gid: job.gid), of: made.place) }
        try entries.dropInheritedAccessLists(made.place)
        let mode = try entries.setAttributes(of: decoder, at: made.place, .regular)
        try attempt { () throws(SystemCallError) in
            if job.setsMode { try file.setMode(mode) }
            try file.setTimes(access: job.access, modification: job.modification)
        }
    }
}

extension LayerError {
    @inline(never)
    fileprivate init(_ error: TarError) {
        self.init(
            error.kind == .limitExceeded ? .limitExceeded : .invalidArchive, "apply", path: nil,
            cause: .archive(offset: error.offset, reason: error.reason.description))
    }
}
