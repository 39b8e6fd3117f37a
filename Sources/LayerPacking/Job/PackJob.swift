import LayerModel
import LayerRules
import TarCodec

/// The directory part of the last name and where it led: the names of one directory mostly follow each other.
struct PreviousDirectory {
    private var path: [UInt8] = []
    private var node: UInt32?
    private var generation: UInt64 = 0

    /// Where `path` leads, if it is the same as the last one and still leads there.
    func node(at path: RawSpan, _ generation: UInt64) -> UInt32? {
        guard let node, generation == self.generation, bytesEqual(self.path.rawBytes, path) else { return nil }
        return node
    }

    mutating func remember(_ node: UInt32, at path: RawSpan, _ generation: UInt64) {
        self.path.removeAll(keepingCapacity: true)
        for index in 0..<path.byteCount { self.path.append(path[index]) }
        self.node = node
        self.generation = generation
    }

    mutating func forget() { node = nil }
}

/// Turns an archive's entries into a tree, by the rules by which unpacking makes files of them in an upper directory that
/// was empty.
struct PackJob: ~Copyable {
    let options: PackOptions
    let rules: EntryAttributeRules
    var tree = PackTree()
    var report = PackReport()
    /// Where the current entry begins in the stream.
    var entryOffset: UInt64 = 0
    /// Bytes of files so far, for the caller's bound.
    var fileBytes: UInt64 = 0
    var deferredLinks = DeferredLinks()
    /// The directory beside the tree that holds aufs's hard-linked files until they are linked.
    var plinkNode: UInt32?
    /// Attributes of the entry under way.
    var set = AttributeSet()
    /// The attributes made last: many entries have the same.
    var lastAttributes: UInt32 = 0

    private var previous = PreviousDirectory()
    private var archiveName = ArchiveName()
    private var lastParent: UInt32?

    init(_ options: PackOptions) {
        self.options = options
        rules = EntryAttributeRules(keepSELinux: options.keepSELinux)
    }

    /// Carries out an entry. Returns the inode of a regular file, whose body comes next.
    mutating func begin(_ entry: borrowing TarDecoder) throws(LayerError) -> UInt32? {
        entryOffset = entry.entryOffset
        report.entries += 1
        report.headerSum &+= UInt64(max(entry.fields.size, 0))
        guard !EntryRules.isSkipped(entry.fields) else { return nil }
        let name = entry.name
        if let base = ArchiveName.plainBase(name),
            let node = previous.node(at: name.extracting(0..<base.lowerBound), tree.generation)
        {
            return try place(entry, name.extracting(base), directory: RawSpan(), parent: node)
        }
        previous.forget()
        do throws(ArchiveName.Problem) {
            try archiveName.clean(name, lenient: options.lenientNames)
        } catch {
            throw refusal(.escapes)
        }
        // A copy of the struct, not of its bytes: the job goes on using its own meanwhile.
        let cleaned = archiveName
        if cleaned.isRoot {
            try applyRoot(entry)
            return nil
        }
        if ArchiveName.isBookkeeping(cleaned.bytes.rawBytes) { return try beginBookkeeping(entry, cleaned) }
        // What the entry itself changes may be the way that its own name took.
        let generation = tree.generation
        let target = try place(entry, cleaned.base, directory: cleaned.directory, parent: nil)
        if let base = ArchiveName.plainBase(name), let node = lastParent {
            previous.remember(node, at: name.extracting(0..<base.lowerBound), generation)
        }
        return target
    }

    /// Carries out an entry called `base` in `parent`, or in the directory at the path `directory` where that is
    /// not known yet.
    private mutating func place(
        _ entry: borrowing TarDecoder, _ base: RawSpan, directory: RawSpan, parent: UInt32?
    ) throws(LayerError) -> UInt32? {
        let fields = entry.fields
        switch WhiteoutName(base) {
        case .invalid:
            throw refusal(.emptyWhiteout)
        case .opaque:
            lastParent = nil
            if let node = try resolve(parent, directory, create: .any) { applyOpaque(node) }
            return nil
        case .deletion(let offset):
            lastParent = try resolve(parent, directory, create: deletionParents)
            if let node = lastParent {
                try applyWhiteout(base.extracting(offset..<base.byteCount), in: node, Mark(fields))
            }
            return nil
        case .ordinary: break
        }
        if EntryRules.isWhiteoutDevice(fields) {
            report.warn("\(PathBytes(entry.name.copied())): a device 0:0 was taken for a whiteout")
            lastParent = try resolve(parent, directory, create: deletionParents)
            if let node = lastParent {
                try applyWhiteout(base, in: node, Mark(fields))
                // What this layer has put there before stays.
                if let name = tree.existingName(base, in: node), tree.names[name].kind == .unknown {
                    tree.mark(name, .markDevice)
                }
            }
            return nil
        }
        guard let node = try resolve(parent, directory, create: .any) else { return nil }
        lastParent = node
        return try create(entry, try name(base, in: node), in: node)
    }

    private var deletionParents: Creation { options.parents == .unknown ? .unlessDeleted : .none }

    private mutating func resolve(_ known: UInt32?, _ path: RawSpan, create: Creation) throws(LayerError) -> UInt32? {
        if let known { return known }
        return try directory(at: path, create: create)
    }

    /// Makes what the entry says, in place of what is there.
    private mutating func create(_ entry: borrowing TarDecoder, _ name: UInt32, in node: UInt32) throws(LayerError)
        -> UInt32?
    {
        tree.markUnpacked(node)
        if entry.hasUnusableAccessControl {
            report.warn(
                "\(PathBytes(entry.name.copied())): its access control list was left out, it has names without numbers or makes no sense; "
                    + "its mode gives nobody more than the list did")
        }
        var file: UInt32?
        switch entry.fields.type {
        case TarType.regular, TarType.contiguous, TarType.gnuSparse: file = try makeFile(entry, name, in: node)
        case TarType.directory: try makeDirectory(entry, name)
        case TarType.symbolicLink: try makeSymbolicLink(entry, name)
        case TarType.hardLink: try makeHardLink(entry, name, in: node)
        case TarType.character, TarType.block, TarType.fifo: try makeNode(entry, name)
        default: throw refusal(EntryRules.unknownType(entry.fields))
        }
        if entry.hasUnusableAccessControl { tree.mark(name, .limited) }
        return file
    }

    /// An entry for the root: ignored, unless the caller wants its metadata.
    private mutating func applyRoot(_ entry: borrowing TarDecoder) throws(LayerError) {
        guard entry.fields.type == TarType.directory else { throw refusal(.rootIsNoDirectory) }
        guard options.applyRootMetadata else { return }
        try describeDirectory(entry, PackTree.root)
    }

    // MARK: errors

    /// The error for something wrong in the archive.
    @inline(never)
    func refusal(_ refusal: EntryRefusal) -> LayerError {
        LayerError(refusal.code, "pack", cause: .archive(offset: entryOffset, reason: refusal.reason))
    }

    /// The error for a layer that may be all right, but that an index cannot hold.
    @inline(never)
    func unfit(_ reason: String) -> LayerError { LayerError.unfit(reason, offset: entryOffset) }

    /// The record of a name, made if there is none.
    mutating func name(_ bytes: RawSpan, in node: UInt32) throws(LayerError) -> UInt32 {
        do throws(PackFull) { return try tree.name(bytes, in: node) } catch {
            throw unfit("it has more names than an index can hold")
        }
    }

    /// The place of bytes that were added to the arena.
    mutating func keep(_ bytes: RawSpan) throws(LayerError) -> UInt32 {
        guard let place = tree.arena.append(bytes) else { throw unfit("it has more names than an index can hold") }
        return place
    }

    /// What a rule says, as an error of this entry.
    func check<Value>(_ body: () throws(EntryRefusal) -> Value) throws(LayerError) -> Value {
        do throws(EntryRefusal) { return try body() } catch { throw refusal(error) }
    }
}

extension LayerError {
    /// The error for a layer that an index cannot hold: it is to be unpacked instead.
    static func unfit(_ reason: String, offset: UInt64) -> LayerError {
        LayerError(
            .unsupported, "pack", cause: .archive(offset: offset, reason: reason),
            hint: "this layer cannot be packed: unpack it")
    }
}
