public import LayerModel
public import TarCodec

/// The directory part of the last name and where it led: the names of one directory mostly follow each other.
public struct PreviousDirectory: Sendable {
    @usableFromInline var path: [UInt8] = []
    @usableFromInline var node: UInt32?
    @usableFromInline var generation: UInt64 = 0

    public init() {}

    /// Where `path` leads, if it is the same as the last one and still leads there in a tree of that generation.
    @inlinable
    public func node(at path: RawSpan, _ generation: UInt64) -> UInt32? {
        guard let node, generation == self.generation, bytesEqual(self.path.rawBytes, path) else { return nil }
        return node
    }

    /// Remembers where `path` led when the tree was of that generation.
    @inlinable
    public mutating func remember(_ node: UInt32, at path: RawSpan, _ generation: UInt64) {
        self.path.removeAll(keepingCapacity: true)
        for index in 0..<path.byteCount { self.path.append(path[index]) }
        self.node = node
        self.generation = generation
    }

    @inlinable
    public mutating func forget() { node = nil }
}

/// What is kept between an archive's entries to understand their names.
public struct EntryNames: Sendable {
    @usableFromInline var previous = PreviousDirectory()
    @usableFromInline var cleaned = ArchiveName()

    public init() {}
}

/// What an archive's entries end up in: files, or an index of them. The rules by which an entry is understood are here alone; what
/// then happens the target says.
public protocol EntryTarget: PathFinding, ~Copyable {
    /// A name in a directory.
    associatedtype Place
    /// A regular file whose bytes come next.
    associatedtype File

    var names: EntryNames { get set }
    /// Grows whenever a path that was found before may lead elsewhere.
    var generation: UInt64 { get }
    /// Which directories are made on the way to a deletion.
    var creationForDeletions: Creation { get }
    /// Whether an entry for the root is for it; else it is ignored.
    var appliesRootMetadata: Bool { get }

    mutating func warn(_ text: @autoclosure () -> String)
    mutating func place(of name: RawSpan, in node: UInt32) throws(LayerError) -> Place

    /// Gives the root itself the metadata of its entry.
    mutating func changeRoot(_ entry: borrowing TarDecoder) throws(LayerError)
    /// Keeps one of aufs's own files, for the links to it.
    mutating func keepAside(_ entry: borrowing TarDecoder, _ base: RawSpan) throws(LayerError) -> File?
    /// An opaque marker in a directory.
    mutating func hideLower(_ node: UInt32, asSaidBy fields: TarFields) throws(LayerError)
    /// A deletion. `isDevice`: the entry is a device 0:0, which may have further names.
    mutating func delete(_ place: Place, asSaidBy fields: TarFields, isDevice: Bool) throws(LayerError)

    /// Something of the layer's comes to lie in the place's directory.
    mutating func prepare(_ place: Place) throws(LayerError)
    mutating func makeFile(_ entry: borrowing TarDecoder, at place: Place) throws(LayerError) -> File
    mutating func makeDirectory(_ entry: borrowing TarDecoder, at place: Place) throws(LayerError)
    mutating func makeSymbolicLink(_ entry: borrowing TarDecoder, at place: Place) throws(LayerError)
    mutating func makeHardLink(_ entry: borrowing TarDecoder, at place: Place) throws(LayerError)
    mutating func makeNode(_ entry: borrowing TarDecoder, at place: Place) throws(LayerError)
    /// What lies there has a mode that gives less than its entry says.
    mutating func limit(_ place: Place)
}

extension EntryTarget where Self: ~Copyable {
    /// Carries out an entry's header. Returns a regular file, whose bytes come next.
    @inlinable
    public mutating func carryOut(_ entry: borrowing TarDecoder) throws(LayerError) -> File? {
        guard !EntryRules.isSkipped(entry.fields) else { return nil }
        let name = entry.name
        let base = ArchiveName.plainBase(name)
        if let base, let node = names.previous.node(at: name.extracting(0..<base.lowerBound), generation) {
            var parent: UInt32? = node
            return try carryOut(entry, named: name.extracting(base), in: RawSpan(), &parent)
        }
        names.previous.forget()
        var cleaned = ArchiveName()
        // The buffer is the same for all entries.
        swap(&cleaned, &names.cleaned)
        defer { swap(&cleaned, &names.cleaned) }
        try clean(name, into: &cleaned, otherwise: .escapes)
        if cleaned.isRoot {
            guard entry.fields.type == TarType.directory else { throw refusal(.rootIsNoDirectory) }
            if appliesRootMetadata { try changeRoot(entry) }
            return nil
        }
        if ArchiveName.isBookkeeping(cleaned.bytes.rawBytes) {
            return EntryRules.isKeptAside(entry.fields, cleaned) ? try keepAside(entry, cleaned.base) : nil
        }
        // What the entry itself changes may be the way that its own name took.
        let generation = self.generation
        var parent: UInt32?
        let file = try carryOut(entry, named: cleaned.base, in: cleaned.directory, &parent)
        if let base, let parent {
            names.previous.remember(parent, at: name.extracting(0..<base.lowerBound), generation)
        }
        return file
    }

    /// Carries out an entry called `base` in the directory at the path `directory`, or in `parent` where that is known: a mark is a
    /// deletion, anything else is to be there. `parent` is the directory afterwards, if it is there.
    @inlinable
    mutating func carryOut(
        _ entry: borrowing TarDecoder, named base: RawSpan, in directory: RawSpan, _ parent: inout UInt32?
    ) throws(LayerError) -> File? {
        let fields = entry.fields
        switch WhiteoutName(base) {
        case .invalid:
            throw refusal(.emptyWhiteout)
        case .opaque:
            if let node = try find(directory, knownAs: parent, .any) { try hideLower(node, asSaidBy: fields) }
            parent = nil
            return nil
        case .deletion(let offset):
            parent = try find(directory, knownAs: parent, creationForDeletions)
            guard let parent else { return nil }
            let deleted = try place(of: base.extracting(offset..<base.byteCount), in: parent)
            try delete(deleted, asSaidBy: fields, isDevice: false)
            return nil
        case .ordinary:
            break
        }
        if EntryRules.isWhiteoutDevice(fields) {
            warn("\(PathBytes(entry.name.copied())): a device 0:0 was taken for a whiteout")
            parent = try find(directory, knownAs: parent, creationForDeletions)
            if let parent { try delete(place(of: base, in: parent), asSaidBy: fields, isDevice: true) }
            return nil
        }
        parent = try find(directory, knownAs: parent, .any)
        guard let parent else { return nil }
        return try make(entry, at: place(of: base, in: parent))
    }

    @inlinable
    mutating func find(_ directory: RawSpan, knownAs node: UInt32?, _ create: Creation) throws(LayerError) -> UInt32? {
        if let node { return node }
        return try self.directory(at: directory, create)
    }

    /// Makes what the entry says, in place of what is there.
    @inlinable
    mutating func make(_ entry: borrowing TarDecoder, at place: Place) throws(LayerError) -> File? {
        try prepare(place)
        if entry.hasUnusableAccessControl {
            warn(
                "\(PathBytes(entry.name.copied())): its access control list was left out, it has names without numbers or makes no sense; "
                    + "its mode gives nobody more than the list did")
        }
        var file: File?
        switch entry.fields.type {
        case TarType.regular, TarType.contiguous, TarType.gnuSparse: file = try makeFile(entry, at: place)
        case TarType.directory: try makeDirectory(entry, at: place)
        case TarType.symbolicLink: try makeSymbolicLink(entry, at: place)
        case TarType.hardLink: try makeHardLink(entry, at: place)
        case TarType.character, TarType.block, TarType.fifo: try makeNode(entry, at: place)
        default: throw refusal(EntryRules.unknownType(entry.fields))
        }
        if entry.hasUnusableAccessControl { limit(place) }
        return file
    }
}
