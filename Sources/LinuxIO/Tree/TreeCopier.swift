import Glibc
import LayerModel
import Synchronization

/// Both sides of a directory that is being copied.
struct CopyPlace {
    var index: UInt32
    var source: SharedDescriptor
    var target: SharedDescriptor
}

/// One thread of a tree copy. A directory's entries are all made by one thread, so that no two wait for the same
/// directory's lock; its metadata follow at once, since nothing is made in it later.
struct TreeCopier: ~Copyable {
    let plan: CopyPlan
    private var sources: TreeOpener
    private var targets: TreeOpener
    var attributes = AttributeReader()
    var files: FileCopier
    let scratch = Slab(capacity: 4096 + 1)
    var tally = TreeCopyReport()
    /// For names and contents that wait for a disk.
    var ahead: LookAhead
    var filesAhead = FileAhead()
    /// Names of the directory at hand that are kept to be looked at together.
    var waiting: [NameRef] = []

    init(_ plan: CopyPlan) {
        self.plan = plan
        sources = TreeOpener(plan.directories, root: plan.source)
        targets = TreeOpener(plan.directories, root: plan.target)
        ahead = LookAhead(plan.options.io)
        files = FileCopier(
            usesRing: plan.options.io == .ring, sparse: plan.options.sparse, cancel: plan.options.cancel)
    }

    /// Copies directories until none are left.
    mutating func run() throws(LayerError) {
        var reader = DirectoryReader()
        var busy = false
        while let directory = plan.stack.pop(wasBusy: busy) {
            busy = true
            do throws(LayerError) { try copy(directory, &reader) } catch {
                // Before the others are asked to stop and this thread ends, or they would wait for it.
                plan.stop()
                throw error
            }
        }
        tally.io.opens += sources.opens + targets.opens
        tally.io.directoryReads += UInt64(reader.calls)
        ahead.count(into: &tally.io)
        filesAhead.count(into: &tally.io)
        let tally = tally
        plan.report.change { $0.add(tally) }
    }

    private mutating func copy(_ index: UInt32, _ reader: inout DirectoryReader) throws(LayerError) {
        let before = tally.entries
        do throws(LayerError) {
            let place = try open(index)
            let metadata = try look(at: place)
            reader.restart()
            beginDirectory()
            while let entry = try next(&reader, place) {
                try plan.options.cancel.check("copy")
                if try keeps(entry.kind, reader.name(of: entry), place) { continue }
                do throws(LayerError) {
                    try copyEntry(entry.kind, reader.pointer(of: entry), reader.name(of: entry), place)
                } catch {
                    var error = error
                    if error.path == nil { error.path = plan.path(index, reader.name(of: entry).copied()) }
                    throw error
                }
            }
            try copyWaiting(place)
            try finish(place, metadata)
        } catch {
            var error = error
            if error.path == nil, error.code != .cancelled { error.path = plan.path(index) }
            throw error
        }
        plan.options.progress?.entries.add(UInt64(tally.entries - before), ordering: .relaxed)
    }

    private mutating func open(_ index: UInt32) throws(LayerError) -> CopyPlace {
        do throws(SystemCallError) {
            return CopyPlace(index: index, source: try sources.handle(index), target: try targets.handle(index))
        } catch { throw copyError(error) }
    }

    private mutating func look(at place: CopyPlace) throws(LayerError) -> EntryMetadata {
        tally.io.stats += 1
        do throws(SystemCallError) { return try place.source.descriptor.metadata() } catch { throw copyError(error) }
    }

    private func next(_ reader: inout DirectoryReader, _ place: CopyPlace) throws(LayerError) -> DirectoryEntry? {
        do throws(SystemCallError) { return try reader.next(of: place.source.descriptor) } catch {
            throw copyError(error)
        }
    }

    private mutating func copyEntry(
        _ kind: EntryKind, _ name: borrowing NamePointer, _ bytes: RawSpan, _ place: CopyPlace
    ) throws(LayerError) {
        if kind == .directory { return try makeDirectory(name, bytes, place) }
        let isLinked = plan.options.mode == .hardLink
        if kind == .regular, isLinked, try link(name, place) { return }
        let metadata: EntryMetadata
        do throws(SystemCallError) { metadata = try look(at: name, place) } catch { throw copyError(error) }
        try copyEntry(metadata, name, bytes, place, mayLink: isLinked && kind != .regular)
    }

    /// Copies an entry whose metadata are known; with `mayLink`, a file may become a further name of the source's.
    mutating func copyEntry(
        _ metadata: EntryMetadata, _ name: borrowing NamePointer, _ bytes: RawSpan, _ place: CopyPlace,
        mayLink: Bool = false
    ) throws(LayerError) {
        if metadata.kind == .directory { return try makeDirectory(name, bytes, place) }
        if metadata.kind == .regular, mayLink, try link(name, place) { return }
        guard metadata.linkCount > 1 else { return try make(name, bytes, metadata, place, nil) }
        let key = CopiedLinks.Key(metadata)
        switch plan.links.claim(key) {
        case .first: try make(name, bytes, metadata, place, key)
        case .copied(let first):
            // The first copy may have as many names as the target's file system allows: then a second one begins.
            if try !link(name, to: first, place) { try make(name, bytes, metadata, place, key) }
        case .skipped: tally.skippedDevices += 1
        case .stopped: throw LayerError(.cancelled, "copy", cause: .reason("interrupted"))
        }
    }

    /// Makes a directory, and queues it: another thread may fill it while this one goes on.
    private mutating func makeDirectory(_ name: borrowing NamePointer, _ bytes: RawSpan, _ place: CopyPlace)
        throws(LayerError)
    {
        var existed = false
        do throws(SystemCallError) {
            try place.target.descriptor.makeDirectory(name, mode: 0o700)
        } catch {
            guard error.errno == EEXIST else { throw copyError(error) }
            existed = true
        }
        tally.directories += 1
        tally.io.creates += 1
        plan.stack.push(try plan.directories.add(bytes, in: place.index, existed: existed))
    }

    /// Makes the source's name a further name of the same file; false where it can have no more.
    private mutating func link(_ name: borrowing NamePointer, _ place: CopyPlace) throws(LayerError) -> Bool {
        do throws(SystemCallError) {
            try place.target.descriptor.makeHardLink(name, to: name, in: place.source.descriptor)
        } catch {
            if error.errno == EMLINK { return false }
            throw copyError(error)
        }
        countLink()
        return true
    }

    /// Makes a further name of the first copy; false where it can have no more.
    private mutating func link(_ name: borrowing NamePointer, to first: CopiedLinks.Place, _ place: CopyPlace)
        throws(LayerError) -> Bool
    {
        let names = plan.directories.names
        do throws(SystemCallError) {
            let directory = try targets.handle(first.directory)
            try place.target.descriptor.makeHardLink(name, to: names.pointer(first.name), in: directory.descriptor)
        } catch {
            if error.errno == EMLINK { return false }
            throw copyError(error)
        }
        countLink()
        return true
    }

    private mutating func countLink() {
        tally.hardLinks += 1
        tally.io.creates += 1
    }

    @inline(never)
    func copyError(_ error: SystemCallError) -> LayerError { LayerError(error, "copy", path: nil) }
}
