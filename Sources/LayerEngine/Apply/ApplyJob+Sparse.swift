import LayerModel
import LinuxIO
import TarCodec

/// Files that the archive itself has with holes.
extension ApplyJob {
    /// Writes a sparse file: its data extents at their places, holes never.
    ///
    /// It stays open from its making to its end, so that nobody can put something else in its place.
    func deliverSparse<Source: SlabSource & ~Copyable>(
        _ target: FileTarget, _ decoder: inout TarDecoder, _ source: inout Source
    ) throws(LayerError) {
        let job = target.job
        let handle = try handle(job.node)
        let arena = tree.arena
        report.io.creates += 1
        let file = try attempt { () throws(SystemCallError) in
            try handle.descriptor.open(
                arena.pointer(job.name), [.create, .exclusive, .noFollow, .writeOnly], mode: job.mode & 0o777)
        }
        do throws(LayerError) {
            for index in 0..<decoder.sparseExtentCount {
                let (offset, length) = decoder.sparseExtent(index)
                try write(length, at: offset, of: file, &decoder, &source)
            }
            try finishSparse(file, target, decoder)
        } catch {
            try? handle.descriptor.unlink(arena.pointer(job.name))
            throw error
        }
    }

    /// Writes the next `length` bytes of the stream to one place in a file.
    private func write<Source: SlabSource & ~Copyable>(
        _ length: Int64, at offset: Int64, of file: borrowing OwnedDescriptor, _ decoder: inout TarDecoder,
        _ source: inout Source
    ) throws(LayerError) {
        var contents = SparseWriter(options.sparse, at: offset)
        var left = length
        while left > 0 {
            if feed.available == 0, try !nextSlab(&source) { return try truncated(&decoder) }
            guard let slab = feed.current else { return }
            let count = Int(min(left, Int64(feed.available)))
            do throws(SystemCallError) {
                try contents.write(slab.span(feed.position..<feed.position + count), to: file)
            } catch {
                throw LayerError(error, "apply", path: nil)
            }
            feed.skip(count)
            decoder.advance(count)
            left -= Int64(count)
        }
        do throws(SystemCallError) {
            try contents.settle(file)
        } catch {
            throw LayerError(error, "apply", path: nil)
        }
        report.io.bytesWritten += UInt64(contents.writtenBytes)
    }

    /// Size, then what writing has cleared: owner, attributes, mode, times.
    private func finishSparse(
        _ file: borrowing OwnedDescriptor, _ target: FileTarget, _ decoder: borrowing TarDecoder
    ) throws(LayerError) {
        let job = target.job
        do throws(SystemCallError) {
            try file.truncate(to: job.size)
        } catch {
            throw LayerError(error, "apply", path: nil)
        }
        if job.setsOwner { try setOwner(job.uid, job.gid, of: job.name, in: job.node) }
        try dropInheritedAccessLists(job.name, in: job.node)
        let mode = try setAttributes(of: decoder, target.record, in: job.node, kind: .regular)
        do throws(SystemCallError) {
            if job.setsMode { try file.setMode(mode) }
            try file.setTimes(access: job.access, modification: job.modification)
        } catch {
            throw LayerError(error, "apply", path: nil)
        }
    }
}
