public import LayerModel
public import TarCodec

/// What came of a hard link.
public enum LinkOutcome<Place> {
    case made
    /// Its target does not exist; the place is that of the target's name, if at least its directory exists.
    case missing(Place?)
}

/// A hard link whose target had not come yet when its entry was read.
public struct WaitingLink<Place, Metadata> {
    public let place: Place
    public let target: [UInt8]
    /// What the link's header says of the inode.
    public let metadata: Metadata
    /// Where its entry begins in the archive.
    public let offset: UInt64
}

/// Hard links that wait for their targets, in the archive's order.
public struct WaitingLinks<Place, Metadata> {
    public private(set) var links: [WaitingLink<Place, Metadata>] = []
    /// The last link of each name.
    private var newest: [UInt32: Int] = [:]
    private var byteCount = 0

    /// Memory that links to later names may hold.
    private static var byteLimit: Int { 64 << 20 }

    public init() {}

    /// Adds a link, in place of an earlier one of the same name; false where too much waits already.
    mutating func append(_ link: WaitingLink<Place, Metadata>, record: UInt32, attributeBytes: Int) -> Bool {
        byteCount += link.target.count + attributeBytes + 128
        guard byteCount <= Self.byteLimit else { return false }
        newest[record] = links.count
        links.append(link)
        return true
    }

    /// Whether no later link has the same name.
    func isNewest(_ index: Int, record: UInt32) -> Bool { newest[record] == index }
}

/// Who makes an archive's hard links. Which link leads where, which is refused and which waits is decided here alone.
public protocol LinkMaker: PathFinding, ~Copyable {
    /// A name in a directory.
    associatedtype Place
    /// What a link's header says of the inode.
    associatedtype Metadata

    var waiting: WaitingLinks<Place, Metadata> { get set }
    /// Where the current entry begins in the archive.
    var entryOffset: UInt64 { get }

    mutating func place(of name: RawSpan, in node: UInt32) throws(LayerError) -> Place
    /// The number of a name: two places with the same are one.
    func record(_ place: Place) -> UInt32
    func path(of place: Place) -> PathBytes
    /// Whether a directory is the one that lies under a name, or lies below it.
    func lies(_ node: UInt32, below place: Place) -> Bool

    /// Memory that the header's attributes take.
    static func attributeBytes(_ metadata: Metadata) -> Int
    mutating func metadata(of entry: borrowing TarDecoder) throws(LayerError) -> Metadata

    /// A file of aufs's that was kept aside.
    func keptFile(_ base: RawSpan) -> Place?
    mutating func makeName(_ place: Place, ofKept file: Place) throws(LayerError)

    /// Whether the layer has something under a name that is not there all the same; `isLast`: no entry comes any more that could
    /// fill it.
    func isLeftOut(_ source: Place, isLast: Bool) -> Bool
    /// Deals with a further name of such a thing.
    mutating func leaveOut(_ place: Place, as source: Place, _ metadata: Metadata) throws(LayerError)
    /// What lies under the name that a link is to lead to, complete.
    mutating func targetKind(_ source: Place) throws(LayerError) -> EntryKind
    /// Makes the link, and of the inode what the link's header says. A link that names itself must not remove itself first.
    mutating func makeName(_ place: Place, of source: Place, _ kind: EntryKind, _ metadata: Metadata) throws(LayerError)

    /// Takes the name for a link that cannot be made yet.
    mutating func reserve(_ place: Place) throws(LayerError)
    /// Whether a name still waits: nothing has taken it since, nor has its directory been removed.
    func isWanted(_ place: Place) -> Bool
    /// Whether nothing has taken a name that waits for its link.
    func isAwaited(_ place: Place) -> Bool
    /// Begins with a link that has waited; throws if all is to end.
    mutating func resume(at offset: UInt64) throws(LayerError)
}

extension LinkMaker where Self: ~Copyable {
    /// Makes the link that an entry says, or lets it wait for its target.
    public mutating func makeHardLink(_ entry: borrowing TarDecoder, at place: Place) throws(LayerError) {
        let metadata = try metadata(of: entry)
        let target = entry.linkName
        if try linkKeptFile(target, at: place) { return }
        if case .made = try link(place, to: target, metadata, isLast: false) { return }
        // The name is taken from here on, as it will be by the link.
        try reserve(place)
        let link = WaitingLink(place: place, target: target.copied(), metadata: metadata, offset: entryOffset)
        let bytes = Self.attributeBytes(metadata)
        guard waiting.append(link, record: record(place), attributeBytes: bytes) else {
            throw LayerError(
                .limitExceeded, Self.operation,
                cause: .archive(offset: entryOffset, reason: "too many hard links come before their targets"))
        }
    }

    /// If a link's target is one of aufs's files that were kept aside, makes the link and returns true.
    private mutating func linkKeptFile(_ target: RawSpan, at place: Place) throws(LayerError) -> Bool {
        var cleaned = ArchiveName()
        try clean(target, into: &cleaned, otherwise: .linkEscapes)
        guard bytes(cleaned.bytes.rawBytes, startWith: ArchiveName.keptFiles) else { return false }
        guard let file = keptFile(cleaned.base) else { throw refusal(.unknownAUFSFile) }
        try makeName(place, ofKept: file)
        return true
    }

    /// Links a name to `target`, if that exists. `isLast`: no entry comes any more that could fill that name.
    private mutating func link(_ place: Place, to target: RawSpan, _ metadata: Metadata, isLast: Bool)
        throws(LayerError) -> LinkOutcome<Place>
    {
        var cleaned = ArchiveName()
        try clean(target, into: &cleaned, otherwise: .linkEscapes)
        guard !cleaned.isRoot else { throw refusal(.linkToRoot) }
        guard cleaned.base.byteCount <= EntryRules.longestComponent else { throw refusal(.longTarget) }
        guard let directory = try directory(at: cleaned.directory, .none) else { return .missing(nil) }
        let source = try self.place(of: cleaned.base, in: directory)
        let isItself = record(source) == record(place)
        if isLeftOut(source, isLast: isLast) {
            if !isItself { try leaveOut(place, as: source, metadata) }
            return .made
        }
        let kind = try targetKind(source)
        guard kind != .unknown else { return .missing(source) }
        guard kind != .directory else { throw refusal(.linkToDirectory) }
        guard isItself || !lies(directory, below: place) else { throw refusal(.linkAboveTarget) }
        try makeName(place, of: source, kind, metadata)
        return .made
    }

    // MARK: links whose targets come later

    /// Links whose paths lead through each other may need as many looks; no archive that is not made for it has any.
    private static var mostRounds: Int { 64 }

    /// Makes the links whose targets came later; a chain of them costs one look at each, in whatever order.
    public mutating func makeWaiting() throws(LayerError) {
        let links = waiting
        var left = Array(links.links.indices)
        // A round more is needed only where a path leads through a link that the one before has made.
        for _ in 0..<Self.mostRounds where !left.isEmpty { left = try makeOnce(left, of: links) }
        if let first = left.first { throw missingTarget(of: links.links[first]) }
    }

    /// Tries each of the links once, those that wait for another right behind that; returns those that still wait.
    private mutating func makeOnce(_ indices: [Int], of links: WaitingLinks<Place, Metadata>) throws(LayerError)
        -> [Int]
    {
        var waitingFor: [UInt32: (target: Place, links: [Int])] = [:]
        var lost: [Int] = []
        var next = Array(indices.reversed())
        var madeOne = false
        while let index = next.popLast() {
            let link = links.links[index]
            let record = record(link.place)
            guard links.isNewest(index, record: record), isWanted(link.place) else { continue }
            try resume(at: link.offset)
            switch try self.link(link.place, to: link.target.rawBytes, link.metadata, isLast: true) {
            case .made:
                madeOne = true
                next += waitingFor.removeValue(forKey: record)?.links ?? []
            case .missing(let place?): waitingFor[self.record(place), default: (place, [])].links.append(index)
            case .missing(nil): lost.append(index)
            }
        }
        let left = (lost + waitingFor.values.flatMap { $0.links }).sorted()
        guard !madeOne, let first = left.first else { return left }
        // The one to name is at the end of its chain: its target waits for nothing.
        var middle: Set<Int> = []
        for (target, waiters) in waitingFor.values where isAwaited(target) { middle.formUnion(waiters) }
        throw missingTarget(of: links.links[left.first { !middle.contains($0) } ?? first])
    }

    private func missingTarget(of link: WaitingLink<Place, Metadata>) -> LayerError {
        LayerError(
            .invalidArchive, Self.operation, path: path(of: link.place),
            cause: .archive(
                offset: link.offset, reason: "the hard link's target \(PathBytes(link.target)) does not exist"))
    }
}
