import LayerModel
import LayerRules
import TarCodec

/// What a link's header says of the inode.
struct LinkMetadata {
    var mode: UInt32
    var uid: UInt32
    var gid: UInt32
    var seconds: Int64
    var nanoseconds: UInt32
    var attributes = AttributeSet()
}

/// A hard link whose target had not come yet when its entry was read.
struct DeferredLink {
    var node: UInt32
    var name: UInt32
    var target: [UInt8]
    var metadata: LinkMetadata
    var offset: UInt64
}

/// Hard links that wait for their targets, in the archive's order.
struct DeferredLinks {
    private(set) var links: [DeferredLink] = []
    /// The last link of each name.
    private var newest: [UInt32: Int] = [:]
    private var byteCount = 0

    /// Memory that links to later names may hold.
    private static let byteLimit = 64 << 20

    /// Adds a link, in place of an earlier one of the same name. Throws `.limitExceeded`.
    mutating func append(_ link: DeferredLink) throws(LayerError) {
        byteCount += link.target.count + link.metadata.attributes.byteCount + 128
        guard byteCount <= Self.byteLimit else {
            throw LayerError(
                .limitExceeded, "pack",
                cause: .archive(offset: link.offset, reason: "too many hard links come before their targets"))
        }
        newest[link.name] = links.count
        links.append(link)
    }

    /// Whether no later link has the same name.
    func isNewest(_ index: Int) -> Bool { newest[links[index].name] == index }
}

/// Hard links.
extension PackJob {
    mutating func makeHardLink(_ entry: borrowing TarDecoder, _ name: UInt32, in node: UInt32) throws(LayerError) {
        let fields = entry.fields
        let (uid, gid) = try check { () throws(EntryRefusal) in try EntryRules.owner(of: fields) }
        let (seconds, nanoseconds) = EntryRules.time(fields.mtimeSeconds, fields.mtimeNanoseconds, isExact: false)
        var metadata = LinkMetadata(
            mode: fields.mode & 0o7777, uid: uid, gid: gid, seconds: seconds, nanoseconds: nanoseconds)
        try metadata.attributes.take(entry, rules, &report)
        let target = entry.linkName
        if try linkBookkeepingFile(target, name, in: node) { return }
        if case .made = try link(name, in: node, to: target, metadata) { return }
        // The name is taken from here on, as it will be by the link.
        _ = clear(name)
        tree.awaitLink(name)
        try deferredLinks.append(
            DeferredLink(node: node, name: name, target: target.copied(), metadata: metadata, offset: entryOffset))
    }

    /// What came of a hard link.
    enum LinkOutcome {
        case made
        /// Its target does not exist; the record of the target's name, if at least its directory exists.
        case missing(UInt32?)
    }

    /// Links a name to `target`, if that exists. `isLast`: no entry comes any more that could fill its name.
    private mutating func link(
        _ name: UInt32, in node: UInt32, to target: RawSpan, _ metadata: LinkMetadata, isLast: Bool = false
    ) throws(LayerError) -> LinkOutcome {
        var cleaned = ArchiveName()
        do throws(ArchiveName.Problem) {
            try cleaned.clean(target, lenient: options.lenientNames)
        } catch {
            throw refusal(.linkEscapes)
        }
        guard !cleaned.isRoot else { throw refusal(.linkToRoot) }
        guard cleaned.base.byteCount <= EntryRules.longestComponent else { throw refusal(.longTarget) }
        guard let directory = try directory(at: cleaned.directory, create: .none) else { return .missing(nil) }
        let source = try self.name(cleaned.base, in: directory)
        let known = tree.names[source]
        if known.flags.contains(.markDevice), isLast {
            if source != name { try leaveOutLink(name, in: node, metadata) }
            return .made
        }
        guard known.kind != .unknown else { return .missing(source) }
        guard known.kind != .directory else { throw refusal(.linkToDirectory) }
        let isLimited = known.flags.contains(.limited) || tree.names[name].flags.contains(.limited)
        // A link that names itself must not remove itself first.
        if source != name {
            guard !tree.lies(directory, below: name) else { throw refusal(.linkAboveTarget) }
            _ = clear(name)
        }
        tree.put(known.inode, at: name, .unpacked)
        if isLimited { tree.mark(name, .limited) }
        tree.markUnpacked(node)
        try apply(metadata, to: known.inode, isLimited: isLimited)
        return .made
    }

    /// A further name of a device 0:0 that was taken for a deletion is one, too.
    private mutating func leaveOutLink(_ name: UInt32, in node: UInt32, _ metadata: LinkMetadata) throws(LayerError) {
        report.warn("\(tree.path(name)): a name of a device 0:0 was taken for a whiteout")
        if tree.names[name].flags.contains(.deferred) { tree.clear(name) }
        try applyWhiteout(tree.text(name).copied().rawBytes, in: node, Mark(metadata))
        if tree.names[name].kind == .unknown { tree.mark(name, .markDevice) }
    }

    /// A link's header describes the inode, too.
    private mutating func apply(_ metadata: LinkMetadata, to index: UInt32, isLimited: Bool) throws(LayerError) {
        var inode = tree.inodes[index]
        inode.uid = metadata.uid
        inode.gid = metadata.gid
        inode.seconds = metadata.seconds
        inode.nanoseconds = metadata.nanoseconds
        if inode.kind != .symbolicLink {
            var mode = metadata.mode
            // The header of a name repeats the mode that went with the list.
            if isLimited { mode &= ~0o077 | UInt32(inode.mode) }
            inode.mode = UInt16(inode.kind.modeBits | mode)
        }
        if !metadata.attributes.isEmpty {
            set = metadata.attributes
            inode.attributes = try addAttributes(inode.kind, to: inode.attributes)
        }
        tree.inodes[index] = inode
    }

    // MARK: links whose targets come later

    /// Links whose paths lead through each other may need as many looks; no archive that is not made for it has any.
    private static var mostRounds: Int { 64 }

    /// Makes the links whose targets came later; a chain of them costs one look at each, in whatever order.
    mutating func makeDeferredLinks() throws(LayerError) {
        var waiting = Array(deferredLinks.links.indices)
        // A round more is needed only where a path leads through a link that the one before has made.
        for _ in 0..<Self.mostRounds where !waiting.isEmpty { waiting = try makeLinks(waiting) }
        if let first = waiting.first { throw missingTarget(of: deferredLinks.links[first]) }
    }

    /// Tries each of the links once, those that wait for another right behind that; returns those that still wait.
    private mutating func makeLinks(_ links: [Int]) throws(LayerError) -> [Int] {
        var waitingFor: [UInt32: [Int]] = [:]
        var lost: [Int] = []
        var next = Array(links.reversed())
        var madeOne = false
        while let index = next.popLast() {
            guard isWanted(index) else { continue }
            switch try makeLink(index) {
            case .made:
                madeOne = true
                next += waitingFor.removeValue(forKey: deferredLinks.links[index].name) ?? []
            case .missing(let name?): waitingFor[name, default: []].append(index)
            case .missing(nil): lost.append(index)
            }
        }
        let waiting = (lost + waitingFor.values.joined()).sorted()
        guard !madeOne, let first = waiting.first else { return waiting }
        // The one to name is at the end of its chain: its target waits for nothing.
        let middle = Set(waitingFor.keys.filter { isDeferred($0) }.flatMap { waitingFor[$0] ?? [] })
        throw missingTarget(of: deferredLinks.links[waiting.first { !middle.contains($0) } ?? first])
    }

    private mutating func makeLink(_ index: Int) throws(LayerError) -> LinkOutcome {
        let link = deferredLinks.links[index]
        entryOffset = link.offset
        return try self.link(link.name, in: link.node, to: link.target.rawBytes, link.metadata, isLast: true)
    }

    private func isDeferred(_ name: UInt32) -> Bool { tree.names[name].flags.contains(.deferred) }

    /// Whether a link is still to be made: nothing has taken its name since, nor has its directory been removed.
    private func isWanted(_ index: Int) -> Bool {
        let link = deferredLinks.links[index]
        return deferredLinks.isNewest(index) && isDeferred(link.name) && !tree.isRemoved(link.node)
    }

    private func missingTarget(of link: DeferredLink) -> LayerError {
        LayerError(
            .invalidArchive, "pack", path: tree.path(link.name),
            cause: .archive(
                offset: link.offset, reason: "the hard link's target \(PathBytes(link.target)) does not exist"))
    }
}
