import LayerModel

/// Names that are looked at, and small files that are opened and read, many at a time: where each would wait for a disk.
extension TreeCopier {
    mutating func beginDirectory() {
        ahead.begin()
        // Large files keep several reads in flight then, too.
        files.usesRing = plan.options.io == .ring || ahead.isOn
    }

    /// Metadata of a name, by a plain call whose time may be taken.
    mutating func look(at name: borrowing NamePointer, _ place: CopyPlace) throws(SystemCallError) -> EntryMetadata {
        tally.io.stats += 1
        guard ahead.times() else { return try place.source.descriptor.metadata(name) }
        let start = ContinuousClock.now
        defer { ahead.note(start.duration(to: .now)) }
        return try place.source.descriptor.metadata(name)
    }

    /// Keeps a name that is no directory's for `copyWaiting`, if that pays; false where it is to be copied now.
    mutating func keeps(_ kind: EntryKind, _ name: RawSpan, _ place: CopyPlace) throws(LayerError) -> Bool {
        guard kind != .directory, plan.options.mode == .content, ahead.isOn else { return false }
        waiting.append(try plan.directories.names.append(name))
        if waiting.count == LookAhead.window { try copyWaiting(place) }
        return true
    }

    /// Copies what is kept.
    mutating func copyWaiting(_ place: CopyPlace) throws(LayerError) {
        guard !waiting.isEmpty else { return }
        defer { waiting.removeAll(keepingCapacity: true) }
        let names = plan.directories.names
        ahead.forget()
        for name in waiting { ahead.queue(name, origin: place.index, in: place.source.descriptor, names) }
        ahead.finish()
        var batch: [FileAhead.Item] = []
        var byteCount = 0
        for name in waiting {
            try plan.options.cancel.check("copy")
            let metadata = try named(name, place) { (copier) throws(LayerError) in
                try copier.lookKept(name, place)
            }
            guard !files.mayClone, FileAhead.takes(metadata) else {
                try named(name, place) { (copier) throws(LayerError) in
                    try copier.copyEntry(metadata, names.pointer(name), names[name], place)
                }
                continue
            }
            if batch.count == FileAhead.window || byteCount + Int(metadata.size) > FileAhead.slabByteCount {
                try copyBatch(&batch, place)
                byteCount = 0
            }
            batch.append(FileAhead.Item(name, metadata))
            byteCount += Int(metadata.size)
        }
        try copyBatch(&batch, place)
    }

    private mutating func lookKept(_ name: NameRef, _ place: CopyPlace) throws(LayerError) -> EntryMetadata {
        if let (outcome, metadata) = ahead.result(name, in: place.index), outcome == 0 { return metadata }
        let names = plan.directories.names
        do throws(SystemCallError) { return try look(at: names.pointer(name), place) } catch { throw copyError(error) }
    }

    /// Reads the files of a batch together, and makes their copies one after the other.
    private mutating func copyBatch(_ batch: inout [FileAhead.Item], _ place: CopyPlace) throws(LayerError) {
        guard !batch.isEmpty else { return }
        defer { batch.removeAll(keepingCapacity: true) }
        let names = plan.directories.names
        do throws(LayerError) { try filesAhead.read(&batch, in: place.source.descriptor, names) } catch {
            // The ring failed, and what it read is no use: plain calls do it, for all that comes.
            for index in batch.indices { batch[index] = FileAhead.Item(batch[index].name, batch[index].metadata) }
            filesAhead = FileAhead()
            ahead.refuse()
        }
        if filesAhead.hasGivenUp { ahead.refuse() }
        for item in batch {
            try named(item.name, place) { (copier) throws(LayerError) in
                guard let file = item.file, let count = item.count, !item.isChanged else {
                    return try copier.copyEntry(item.metadata, names.pointer(item.name), names[item.name], place)
                }
                try copier.makeCopy(of: item, file, count, place)
            }
        }
    }

    /// Makes the copy of a file that was read.
    private mutating func makeCopy(
        of item: FileAhead.Item, _ source: SharedDescriptor, _ count: Int, _ place: CopyPlace
    ) throws(LayerError) {
        let names = plan.directories.names
        let target: OwnedDescriptor
        tally.io.opens += 1
        do throws(SystemCallError) {
            target = try place.target.descriptor.open(
                names.pointer(item.name), [.create, .exclusive, .noFollow, .writeOnly], mode: item.metadata.mode & 0o777
            )
        } catch { throw copyError(error) }
        do throws(LayerError) {
            let moved = try write(item, count, to: target)
            try checkUnchanged(item, source, count)
            try finish(target, source.descriptor, item.metadata)
            self.count(CopyOutcome(method: .ring, size: Int64(count), movedBytes: moved))
            tally.filesAhead += 1
        } catch {
            try? place.target.descriptor.unlink(names.pointer(item.name))
            throw error
        }
    }

    /// Writes what was read; returns the bytes less those of holes.
    private func write(_ item: FileAhead.Item, _ count: Int, to target: borrowing OwnedDescriptor)
        throws(LayerError) -> Int64
    {
        do throws(SystemCallError) {
            var contents = SparseWriter(plan.options.sparse)
            try contents.write(filesAhead.slab.span(item.start..<item.start + count), to: target)
            try contents.finish(target)
            return contents.writtenBytes
        } catch { throw files.contentError(error) }
    }

    /// What was read of a file that was written to meanwhile may be no state that it ever had.
    private func checkUnchanged(_ item: FileAhead.Item, _ source: SharedDescriptor, _ count: Int) throws(LayerError) {
        let now: EntryMetadata
        do throws(SystemCallError) { now = try source.descriptor.metadata() } catch { throw copyError(error) }
        guard now.size == Int64(count), now.modificationTime == item.metadata.modificationTime else {
            throw LayerError(
                .fileChanged, "copy", path: nil, cause: .reason("the file was written to while it was copied"),
                hint: "end what writes to it, and run this again")
        }
    }

    /// Runs `body`, whose errors are about `name`.
    private mutating func named<Result>(
        _ name: NameRef, _ place: CopyPlace, _ body: (inout TreeCopier) throws(LayerError) -> Result
    ) throws(LayerError) -> Result {
        do throws(LayerError) { return try body(&self) } catch {
            var error = error
            let names = plan.directories.names
            if error.path == nil { error.path = plan.path(place.index, names[name].copied()) }
            throw error
        }
    }
}
