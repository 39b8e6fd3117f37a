import LayerModel
import LinuxIO
import Synchronization
import TarCodec

/// One apply under way: what the decoding thread knows and does. Files' contents are the writers' work; everything
/// that changes the shape of the tree happens here, in the archive's order.
final class ApplyJob {
    let options: ApplyOptions
    let tree: ApplyTree
    let crew: WriterCrew
    let feed: SlabFeed
    let policy: ApplyAttributePolicy
    /// Whether the target is an upper directory, in which deletions are written instead of carried out.
    let isUpper: Bool
    /// Ids that a new file gets by itself, and the bits that it never gets.
    let effectiveUser = ProcessState.effectiveUser
    let effectiveGroup = ProcessState.effectiveGroup
    let umask = ProcessState.currentUmask
    var report = ApplyReport()
    /// Where the current entry begins in the stream.
    var entryOffset: UInt64 = 0
    /// Bytes of files so far, for the caller's bound.
    var fileBytes: UInt64 = 0

    private var previous = PreviousDirectory()
    private var archiveName = ArchiveName()

    /// The batch being filled, and the directory it belongs to.
    var batch: FileBatch?
    var batchNode: UInt32 = 0
    var reader = AttributeReader()
    var remover: TreeRemover
    var scratch = Slab(capacity: 8192)
    var deferredLinks = DeferredLinks()
    /// The newest copy of each inode that can have no more names.
    var copies: [FileIdentity: FileCopy] = [:]
    /// The private directory that holds aufs's hard-linked files until they are linked (A37).
    var plinkNode: UInt32?
    /// Nodes whose times or modes are set at the end exist.
    var upper: UpperTarget?

    init(root: borrowing OwnedDescriptor, options: ApplyOptions) throws(LayerError) {
        self.options = options
        let wanted = WorkerPool(count: options.workers).count
        let share = DescriptorShare(
            workers: wanted, directories: max(1, ApplyTree.cacheSize / wanted), reads: WriterCrew.longestQueue)
        tree = try ApplyTree(root: root, directories: share.directories * share.workers)
        isUpper = options.dialect.name != .tree
        policy = ApplyAttributePolicy(
            bestEffort: options.bestEffort, keepSELinux: options.keepSELinux, keepsHost: options.isExact,
            isInUserNamespace: ProcessState.isInUserNamespace)
        crew = try WriterCrew(
            workers: share.workers, queue: share.readsInFlight, arena: tree.arena,
            settings: FileWriter.Settings(policy: policy, sparse: options.sparse, cancel: options.cancel))
        feed = SlabFeed(crew: crew)
        remover = Self.remover(below: root, options)
        upper =
            isUpper ? try UpperTarget(options: options, tree, share, isInUserNamespace: policy.isInUserNamespace) : nil
    }

    /// What removes directories: small ones as a rule, one after the other, all below the root.
    private static func remover(below root: borrowing OwnedDescriptor, _ options: ApplyOptions) -> TreeRemover {
        var removal = TreeRemovalOptions()
        removal.workers = 1
        removal.cancel = options.cancel
        removal.operation = "apply"
        var remover = TreeRemover(options: removal)
        remover.watchMounts(below: root)
        return remover
    }

    /// Carries out an entry, except for the contents of a regular file: those the caller delivers to the result.
    func begin(_ entry: borrowing TarDecoder) throws(LayerError) -> FileTarget? {
        let fields = entry.fields
        entryOffset = entry.entryOffset
        report.entries += 1
        report.size &+= UInt64(max(fields.size, 0))
        guard fields.type != TarType.gnuVolume, fields.type != TarType.paxGlobal else { return nil }
        let name = entry.name
        if let base = ArchiveName.plainBase(name),
            let node = previous.node(at: name.extracting(0..<base.lowerBound), in: tree)
        {
            return try place(entry, name.extracting(base), directory: RawSpan(), parent: node)
        }
        previous.forget()
        do throws(ArchiveName.Problem) {
            try archiveName.clean(name, lenient: options.lenientNames)
        } catch {
            throw refusal(.unsafePath, "the name climbs above the root")
        }
        // A copy of the struct, not of its bytes: the job goes on using its own meanwhile.
        let cleaned = archiveName
        if cleaned.isRoot {
            try applyRoot(entry)
            return nil
        }
        if isMetadataName(cleaned.bytes.rawBytes) { return try beginMetadata(entry, cleaned) }
        // What the entry itself changes may be the way that its own name took.
        let generation = tree.generation
        let target = try place(entry, cleaned.base, directory: cleaned.directory, parent: nil)
        if let base = ArchiveName.plainBase(name), let node = lastParent {
            previous.remember(node, at: name.extracting(0..<base.lowerBound), generation)
        }
        return target
    }

    /// The directory of the last placed name, if it was there.
    private var lastParent: UInt32?

    /// Carries out an entry called `base` in `parent`, or in the directory at the path `directory` where that is
    /// not known yet.
    private func place(_ entry: borrowing TarDecoder, _ base: RawSpan, directory: RawSpan, parent: UInt32?)
        throws(LayerError) -> FileTarget?
    {
        let fields = entry.fields
        switch WhiteoutName(base) {
        case .invalid:
            throw refusal(.invalidArchive, "the whiteout names nothing")
        case .opaque:
            lastParent = nil
            let known = try resolve(parent, directory, create: .any)
            if let node = known { try applyOpaque(node, fields) }
            return nil
        case .deletion(let offset):
            let known = try resolve(parent, directory, create: isUpper && !lowersAreKnown ? .unlessDeleted : .none)
            lastParent = known
            if let node = known {
                try applyWhiteout(base.extracting(offset..<base.byteCount), in: node, fields)
            }
            return nil
        case .ordinary:
            break
        }
        let isWhiteoutDevice = fields.type == TarType.character && fields.deviceMajor == 0 && fields.deviceMinor == 0
        if isWhiteoutDevice {
            let name = PathBytes(entry.name.copied())
            report.warn("\(name): a device 0:0 was taken for a whiteout")
            let known = try resolve(parent, directory, create: isUpper && !lowersAreKnown ? .unlessDeleted : .none)
            lastParent = known
            if let node = known {
                try applyWhiteout(base, in: node, fields)
                // What this layer has put there before stays.
                if let record = tree.existingRecord(of: base, in: node), tree.records[Int(record)].kind == .unknown {
                    tree.takeForMark(record)
                }
            }
            return nil
        }
        guard let node = try resolve(parent, directory, create: .any) else { return nil }
        lastParent = node
        return try create(entry, try tree.record(of: base, in: node), in: node)
    }

    private func resolve(_ known: UInt32?, _ path: RawSpan, create: Creation) throws(LayerError) -> UInt32? {
        if let known { return known }
        return try directory(at: path, create: create)
    }

    /// Makes what the entry says, in place of what is there.
    func create(_ entry: borrowing TarDecoder, _ record: UInt32, in node: UInt32) throws(LayerError) -> FileTarget? {
        try inspect(node)
        tree.markUnpacked(node)
        if entry.hasUnusableAccessControl {
            report.warn(
                "\(PathBytes(entry.name.copied())): its access control list was left out, it has names without numbers or makes no sense; "
                    + "its mode gives nobody more than the list did")
        }
        switch entry.fields.type {
        case TarType.regular, TarType.contiguous, TarType.gnuSparse:
            let target = try prepareFile(entry, record, in: node)
            if entry.hasUnusableAccessControl { tree.limit(record) }
            return target
        case TarType.directory:
            try makeDirectory(entry, record, in: node)
        case TarType.symbolicLink:
            try makeSymbolicLink(entry, record, in: node)
        case TarType.hardLink:
            try makeHardLink(entry, record, in: node)
        case TarType.character, TarType.block, TarType.fifo:
            try makeNode(entry, record, in: node)
        default:
            throw refusal(.invalidArchive, "entries of type \(entry.fields.type) are not supported")
        }
        if entry.hasUnusableAccessControl { tree.limit(record) }
        return nil
    }

    // MARK: errors

    /// The error for something wrong in the archive.
    @inline(never)
    func refusal(_ code: LayerError.Code, _ reason: String) -> LayerError {
        LayerError(code, "apply", path: nil, cause: .archive(offset: entryOffset, reason: reason))
    }

    /// Runs system calls; their failure becomes the job's error. The path is added where the entry is known.
    @inline(__always)
    func attempt<Result: ~Copyable>(_ body: () throws(SystemCallError) -> Result) throws(LayerError) -> Result {
        do throws(SystemCallError) {
            return try body()
        } catch {
            throw LayerError(error, "apply", path: nil)
        }
    }

    /// The node's open directory.
    @inline(__always)
    func handle(_ node: UInt32) throws(LayerError) -> DirectoryHandle {
        do throws(SystemCallError) {
            return try tree.handle(node)
        } catch {
            throw LayerError(error, "apply", path: nil)
        }
    }

    /// The first failure of a writing thread, with its path, or that writers have given up.
    func checkWriters() throws(LayerError) {
        guard crew.results.hasFailed.load(ordering: .acquiring) else { return }
        let (failure, wasCancelled) = crew.results.totals.change { ($0.failure, $0.wasCancelled) }
        if let failure { throw layerError(failure) }
        precondition(wasCancelled, "writers gave up for no reason")
        throw LayerError(.cancelled, "apply", cause: .reason("interrupted"))
    }
}
