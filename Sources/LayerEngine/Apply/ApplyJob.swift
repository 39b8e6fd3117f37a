import LayerModel
import LayerRules
import LinuxIO
import TarCodec

/// One apply under way, on the decoding thread: takes the archive's entries in their order and says what each means. The target
/// carries that out; the bytes of files go to the queue of the writing threads.
struct ApplyJob<Target: UnpackTarget>: ~Copyable {
    let target: Target
    private let paths: PathFinder<Target>
    private var links: HardLinks<Target>
    private var previous = PreviousDirectory()
    private var archiveName = ArchiveName()
    private var selection: EntrySelection?

    init(_ target: Target) {
        self.target = target
        paths = PathFinder(target)
        links = HardLinks(target, paths)
        selection = EntrySelection(target.options)
    }

    private var tree: ApplyTree { target.tree }
    private var log: ApplyLog { target.log }

    // MARK: entries

    /// What an entry came to.
    private struct Outcome {
        /// A regular file, whose bytes come next.
        var file: FileTarget?
        /// The directory of the entry's name, if it is there.
        var parent: UInt32?
    }

    /// Carries out an entry's header. A regular file is only made room for: its bytes are for the caller to deliver.
    // Reason for the attributes: whoever reads the archive is generic over its source, so it calls this without knowing the
    // target's kind at compile time. From here on all is specialised.
    @specialized(where Target == TreeTarget)
    @specialized(where Target == UpperTarget)
    mutating func carryOutHeader(of entry: borrowing TarDecoder) throws(LayerError) -> FileTarget? {
        let fields = entry.fields
        log.entryOffset = entry.entryOffset
        if selection != nil, try !isSelected(entry) { return nil }
        log.report.entries += 1
        log.report.size &+= UInt64(max(fields.size, 0))
        guard fields.type != TarType.gnuVolume, fields.type != TarType.paxGlobal else { return nil }
        let name = entry.name
        let base = ArchiveName.plainBase(name)
        if let base, let node = previous.node(at: name.extracting(0..<base.lowerBound), in: tree) {
            return try carryOut(entry, named: name.extracting(base), in: RawSpan(), knownAs: node).file
        }
        previous.forget()
        try paths.clean(name, into: &archiveName, otherwise: .escapes)
        // A copy of the struct, not of its bytes: the job goes on using its own meanwhile.
        let cleaned = archiveName
        if cleaned.isRoot {
            try carryOutRoot(entry)
            return nil
        }
        if links.aufsFiles.isBookkeeping(cleaned.bytes.rawBytes) { return try links.aufsFiles.keep(entry, cleaned) }
        // What the entry itself changes may be the way that its own name took.
        let generation = tree.generation
        let outcome = try carryOut(entry, named: cleaned.base, in: cleaned.directory, knownAs: nil)
        if let base, let node = outcome.parent {
            previous.remember(node, at: name.extracting(0..<base.lowerBound), generation)
        }
        return outcome.file
    }

    @inline(never)
    private mutating func isSelected(_ entry: borrowing TarDecoder) throws(LayerError) -> Bool {
        let log = log
        return try selection?.takes(entry, log) ?? true
    }

    /// An entry for the root: ignored, unless the caller wants its metadata.
    private func carryOutRoot(_ entry: borrowing TarDecoder) throws(LayerError) {
        guard entry.fields.type == TarType.directory else {
            throw log.refusal(.rootIsNoDirectory)
        }
        if target.options.applyRootMetadata { try target.changeRoot(entry) }
    }

    /// Carries out an entry called `base` in the directory at the path `directory`, or in the node that this is known to be: a
    /// mark is a deletion, anything else is to be there.
    private mutating func carryOut(
        _ entry: borrowing TarDecoder, named base: RawSpan, in directory: RawSpan, knownAs node: UInt32?
    ) throws(LayerError) -> Outcome {
        let fields = entry.fields
        switch WhiteoutName(base) {
        case .invalid:
            throw log.refusal(.emptyWhiteout)
        case .opaque:
            if let node = try find(directory, knownAs: node, .any) {
                try target.hideLower(node, asSaidBy: fields)
            }
            return Outcome()
        case .deletion(let offset):
            let node = try find(directory, knownAs: node, target.creationForDeletions)
            if let node {
                let place = try tree.place(of: base.extracting(offset..<base.byteCount), in: node)
                try target.delete(place, .deletion(fields))
            }
            return Outcome(parent: node)
        case .ordinary:
            break
        }
        if fields.type == TarType.character, fields.deviceMajor == 0, fields.deviceMinor == 0 {
            log.warn("\(PathBytes(entry.name.copied())): a device 0:0 was taken for a whiteout")
            let node = try find(directory, knownAs: node, target.creationForDeletions)
            if let node { try carryOutMarkDevice(tree.place(of: base, in: node), fields) }
            return Outcome(parent: node)
        }
        guard let node = try find(directory, knownAs: node, .any) else { return Outcome() }
        return Outcome(file: try make(entry, at: tree.place(of: base, in: node)), parent: node)
    }

    private func find(_ directory: RawSpan, knownAs node: UInt32?, _ create: Creation) throws(LayerError) -> UInt32? {
        if let node { return node }
        return try paths.directory(at: directory, create)
    }

    private func carryOutMarkDevice(_ place: NamePlace, _ fields: TarFields) throws(LayerError) {
        try target.delete(place, .deletion(fields))
        // What this layer has put there before stays.
        if tree.kind(place) == .unknown { tree.takeForMark(place) }
    }

    /// Makes what the entry says, in place of what is there.
    private mutating func make(_ entry: borrowing TarDecoder, at place: NamePlace) throws(LayerError) -> FileTarget? {
        try target.entries.inspect(place.node)
        tree.markUnpacked(place.node)
        if entry.hasUnusableAccessControl {
            log.warn(
                "\(PathBytes(entry.name.copied())): its access control list was left out, it has names without numbers or makes no sense; "
                    + "its mode gives nobody more than the list did")
        }
        var file: FileTarget?
        switch entry.fields.type {
        case TarType.regular, TarType.contiguous, TarType.gnuSparse: file = try target.prepareFile(entry, at: place)
        case TarType.directory: try target.makeDirectory(entry, at: place)
        case TarType.symbolicLink: try target.makeSymbolicLink(entry, at: place)
        case TarType.hardLink: try links.makeLink(entry, at: place)
        case TarType.character, TarType.block, TarType.fifo: try target.makeNode(entry, at: place)
        default:
            throw log.refusal(EntryRules.unknownType(entry.fields))
        }
        if entry.hasUnusableAccessControl { tree.limit(place) }
        return file
    }

    // MARK: the end

    /// What comes after the last entry: waits for the writers, makes the links that waited, and sets what directories were to
    /// have in the end.
    @specialized(where Target == TreeTarget)
    @specialized(where Target == UpperTarget)
    mutating func finish() throws(LayerError) {
        try target.files.finish()
        try links.makeWaiting()
        try links.aufsFiles.remove()
        try target.complete()
    }

    /// The same for a target whose lower directories are not there yet: what depends on them is for later. False where links
    /// wait whose targets a lower directory may have.
    mutating func pause() throws(LayerError) -> Bool {
        try target.files.finish()
        try links.aufsFiles.remove()
        return links.waiting.links.isEmpty
    }

    /// Takes back what no layer means, after a failure.
    mutating func abandon() { try? links.aufsFiles.remove() }
}

extension UnpackTarget {
    /// Sets what directories were to have in the end, and counts.
    func complete() throws(LayerError) {
        try entries.finishDirectories()
        if options.sync == .syncfs {
            let root = try entries.handle(ApplyTree.rootNode)
            try attempt { () throws(SystemCallError) in
                // syncfs(2) refuses descriptors that are handles on a name only.
                let readable = try root.descriptor.open(NamePointer("."), [.readOnly, .directory])
                try readable.syncFileSystem()
            }
        }
        log.report.presentEntries = tree.presentNames + presentMarks
        log.report.io.opens += tree.opens
    }
}
