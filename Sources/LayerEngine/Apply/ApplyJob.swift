import LayerModel
import LayerRules
import LinuxIO
import TarCodec

/// One apply under way, on the decoding thread: takes the archive's entries in their order. What each means the rules say
/// (`EntryTarget`); the target carries it out, and the bytes of files go to the queue of the writing threads.
struct ApplyJob<Target: UnpackTarget>: ~Copyable {
    let target: Target
    var names = EntryNames()
    private let paths: PathFinder<Target>
    private var links: HardLinks<Target>
    private var selection: EntrySelection?

    init(_ target: Target) {
        self.target = target
        paths = PathFinder(target)
        links = HardLinks(target, paths)
        selection = EntrySelection(target.options)
    }

    private var tree: ApplyTree { target.tree }
    private var log: ApplyLog { target.log }

    /// Carries out an entry's header. A regular file is only made room for: its bytes are for the caller to deliver.
    // Reason for the attributes: whoever reads the archive is generic over its source, so it calls this without knowing the
    // target's kind at compile time. From here on all is specialised.
    @specialized(where Target == TreeTarget)
    @specialized(where Target == UpperTarget)
    mutating func carryOutHeader(of entry: borrowing TarDecoder) throws(LayerError) -> FileTarget? {
        log.entryOffset = entry.entryOffset
        if selection != nil, try !isSelected(entry) { return nil }
        log.report.entries += 1
        log.report.size &+= UInt64(max(entry.fields.size, 0))
        return try carryOut(entry)
    }

    @inline(never)
    private mutating func isSelected(_ entry: borrowing TarDecoder) throws(LayerError) -> Bool {
        let log = log
        return try selection?.takes(entry, log) ?? true
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

/// Files are what entries end up in.
extension ApplyJob: EntryTarget {
    static var operation: String { "apply" }
    var generation: UInt64 { tree.generation }
    var creationForDeletions: Creation { target.creationForDeletions }
    var appliesRootMetadata: Bool { target.options.applyRootMetadata }

    func refusal(_ refusal: EntryRefusal) -> LayerError { log.refusal(refusal) }
    func warn(_ text: @autoclosure () -> String) { log.warn(text()) }

    func clean(_ name: RawSpan, into cleaned: inout ArchiveName, otherwise refusal: EntryRefusal) throws(LayerError) {
        try paths.clean(name, into: &cleaned, otherwise: refusal)
    }

    func directory(at path: RawSpan, _ create: Creation) throws(LayerError) -> UInt32? {
        var paths = paths
        return try paths.directory(at: path, create)
    }

    func place(of name: RawSpan, in node: UInt32) throws(LayerError) -> NamePlace {
        precondition(!tree.flags(ofDirectory: node).contains(.removed), "a removed directory was still believed in")
        return try tree.place(of: name, in: node)
    }

    func changeRoot(_ entry: borrowing TarDecoder) throws(LayerError) { try target.changeRoot(entry) }

    mutating func keepAside(_ entry: borrowing TarDecoder, _ base: RawSpan) throws(LayerError) -> FileTarget? {
        try links.aufsFiles.keep(entry, base)
    }

    func hideLower(_ node: UInt32, asSaidBy fields: TarFields) throws(LayerError) {
        try target.hideLower(node, asSaidBy: fields)
    }

    func delete(_ place: NamePlace, asSaidBy fields: TarFields, isDevice: Bool) throws(LayerError) {
        try target.delete(place, .deletion(fields))
        // What this layer has put there before stays.
        if isDevice, tree.kind(place) == .unknown { tree.takeForMark(place) }
    }

    func prepare(_ place: NamePlace) throws(LayerError) {
        try target.entries.inspect(place.node)
        tree.markUnpacked(place.node)
    }

    func makeFile(_ entry: borrowing TarDecoder, at place: NamePlace) throws(LayerError) -> FileTarget {
        try target.prepareFile(entry, at: place)
    }

    func makeDirectory(_ entry: borrowing TarDecoder, at place: NamePlace) throws(LayerError) {
        try target.makeDirectory(entry, at: place)
    }

    func makeSymbolicLink(_ entry: borrowing TarDecoder, at place: NamePlace) throws(LayerError) {
        try target.makeSymbolicLink(entry, at: place)
    }

    mutating func makeHardLink(_ entry: borrowing TarDecoder, at place: NamePlace) throws(LayerError) {
        try links.makeHardLink(entry, at: place)
    }

    func makeNode(_ entry: borrowing TarDecoder, at place: NamePlace) throws(LayerError) {
        try target.makeNode(entry, at: place)
    }

    func limit(_ place: NamePlace) { tree.limit(place) }
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
