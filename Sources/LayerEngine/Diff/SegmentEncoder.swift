import LayerModel
import LinuxIO
import TarCodec

/// Turns segments of the plan into bytes: headers and file contents, straight into the slab that is written out.
/// One per worker, with the walker whose open directories it uses.
struct SegmentEncoder: ~Copyable {
    let job: ExportJob
    let store: TreeStore
    let names: NameArena
    var walker: WalkWorker
    var encoder = TarEncoder()
    /// The path of the directory at hand, with a slash behind each component.
    var prefix: [UInt8] = []
    var prefixDirectory = noIndex
    var name: [UInt8] = []
    var linkName: [UInt8] = []
    let scratch = Slab(capacity: 64 << 10)
    var tally = ExportTally()
    /// An id in an access list of the entry at hand that has no place in the map.
    var unmappedListID: AccessListIDs.Unmapped?
    /// Set when a file was left out, so that the rest of its pieces is too.
    var skippedItem = false

    /// What is begun, with the reads that the ring carries out for it.
    var segments: OpenSegments
    var ringRefused = false
    var opening = SlowOpening()
    /// Files in a row whose bytes memory did not hold, and files read since without asking it.
    var missesInARow = 0
    var coldReads: UInt64 = 0

    init(_ job: ExportJob) {
        self.job = job
        store = job.store
        names = job.store.names
        walker = WalkWorker(job.walk)
        segments = OpenSegments(pool: job.pool)
    }

    /// Encodes one segment.
    ///
    /// Nil where reads are still in flight; `finished` gives the segment later.
    mutating func encode(_ index: Int) throws(LayerError) -> EncodedSegment? {
        let segment = job.plan.segments[index]
        skippedItem = false
        segments.begin(index)
        for position in segment.first..<segment.first + segment.count {
            let item = job.plan.items[Int(position)]
            let entry = store.entries[Int(item.entry)]
            switch item.action {
            case .entry: try encodeEntry(item, entry, segment)
            case .whiteout: try encodeWhiteout(item, entry)
            case .deletion: try encodeDeletion(item, entry)
            case .opaqueMarker: try encodeMarker(item, entry)
            }
        }
        return try segments.end(skipped: skippedItem)
    }

    /// A segment whose last read is done; with `wait`, waits for one while any waits.
    mutating func finished(wait: Bool) throws(LayerError) -> (index: Int, encoded: EncodedSegment)? {
        while true {
            if let finished = segments.takeFinished() { return finished }
            if segments.waitingCount == 0 { return nil }
            if try !reap(wait: wait) { return nil }
        }
    }

    // MARK: Names

    /// Puts the entry's path in the archive into `name`; `before` goes in front of its last component.
    mutating func setName(_ item: ExportItem, _ entry: EntryRecord, before: StaticString = "", slash: Bool = false) {
        if prefixDirectory != item.directory {
            prefix.removeAll(keepingCapacity: true)
            store.appendPath(of: item.directory, to: &prefix)
            prefixDirectory = item.directory
        }
        // An entry begins: what an earlier one had, which was left out, is not this one's.
        unmappedListID = nil
        let names = names
        name.removeAll(keepingCapacity: true)
        name.append(contentsOf: prefix)
        Self.appendText(before, to: &name)
        Self.appendName(names[entry.name], to: &name)
        if slash { name.append(UInt8(ascii: "/")) }
    }

    /// Puts the path of the item that carries the data into `linkName`.
    mutating func setLinkName(_ link: UInt32) {
        linkName.removeAll(keepingCapacity: true)
        guard link != noIndex else { return }
        let target = job.plan.items[Int(link)]
        store.appendPath(of: target.directory, to: &linkName)
        let names = names
        Self.appendName(names[store.entries[Int(target.entry)].name], to: &linkName)
    }

    static func appendName(_ span: RawSpan, to bytes: inout [UInt8]) {
        for index in 0..<span.byteCount { bytes.append(span[index]) }
    }

    static func appendText(_ text: StaticString, to bytes: inout [UInt8]) {
        for index in 0..<text.utf8CodeUnitCount { bytes.append(asciiByte(text, index)) }
    }

    // MARK: Headers

    /// The numbers that every header of an entry has.
    mutating func fields(_ entry: EntryRecord, type: UInt8, _ directory: UInt32) throws(LayerError) -> TarFields {
        var fields = TarFields()
        fields.type = type
        fields.mode = job.rules.typeBitsInMode ? entry.mode & 0o177777 : entry.mode & 0o7777
        (fields.uid, fields.gid) = try mappedIDs(entry, directory)
        fields.mtimeSeconds = entry.mtimeSeconds
        if job.rules.format == .exact { fields.mtimeNanoseconds = Int32(entry.mtimeNanoseconds) }
        if let epoch = job.options.sourceDateEpoch, job.options.profile == .containerd || job.options.clampsTimes,
            fields.mtimeSeconds > epoch
        {
            fields.mtimeSeconds = epoch
            fields.mtimeNanoseconds = 0
        }
        if entry.kind == .characterDevice || entry.kind == .blockDevice {
            fields.deviceMajor = Int64(entry.deviceMajor)
            fields.deviceMinor = Int64(entry.deviceMinor)
        }
        return fields
    }

    /// Owner inside the container. Names beginning `.wh.` keep theirs.
    private mutating func mappedIDs(_ entry: EntryRecord, _ directory: UInt32) throws(LayerError) -> (Int64, Int64) {
        let unmapped = (Int64(entry.uid), Int64(entry.gid))
        guard job.mapsIDs, !bytes(names[entry.name], startWith: WhiteoutName.prefix) else { return unmapped }
        if let listed = unmappedListID.take() {
            throw unmappedID(listed.what, listed.id, directory, entry.name, of: "access list")
        }
        guard let uid = job.options.uidMap.containerID(forHost: entry.uid) else {
            throw unmappedID("user", entry.uid, directory, entry.name)
        }
        guard let gid = job.options.gidMap.containerID(forHost: entry.gid) else {
            throw unmappedID("group", entry.gid, directory, entry.name)
        }
        return (Int64(uid), Int64(gid))
    }

    @inline(never)
    private func unmappedID(
        _ what: String, _ id: UInt32, _ directory: UInt32, _ name: NameRef, of place: StaticString = "owner"
    ) -> LayerError {
        LayerError(
            .idUnmapped, "map \(place) of", path: store.path(directory: directory, name: name),
            cause: .reason("\(what) id \(id) has no place in the id map"), hint: "add a range that covers it")
    }

    /// Encodes a header from `name` and `linkName`, and appends it to the segment, in which `bodyByteCount` bytes of its
    /// body follow.
    mutating func writeHeader(
        _ fields: TarFields, owner: EntryRecord?, format: TarWriteFormat, bodyByteCount: Int64 = 0
    ) throws(LayerError) {
        var user: [UInt8] = []
        var group: [UInt8] = []
        if let owner, let ownerNames = job.ownerNames {
            user = ownerNames.user(owner.uid)
            group = ownerNames.group(owner.gid)
        }
        let name = name
        let linkName = linkName
        for label in encoder.dropAttributesThatDoNotFit(textByteCount: name.count + linkName.count) {
            tally.warn(
                "left out the attribute \(PathBytes(label)) of \(PathBytes(name)): with it, more than 1 MiB of attributes"
            )
        }
        do throws(TarError) {
            try encoder.encode(
                fields, name: name.rawBytes, linkName: linkName.rawBytes, userName: user.rawBytes,
                groupName: group.rawBytes, format: format)
        } catch {
            throw LayerError(
                .limitExceeded, "write header of", path: PathBytes(name), cause: .reason("\(error.reason)"))
        }
        let count = encoder.blocks.byteCount
        let place = segments.reserveHeader(count, bodyByteCount: bodyByteCount)
        place.slab.copy(encoder.blocks, at: place.range.lowerBound)
        segments.counts.entries += 1
        if owner != nil, fields.mtimeSeconds > segments.counts.newestTime {
            segments.counts.newestTime = fields.mtimeSeconds
        }
    }

    var entryFormat: TarWriteFormat {
        switch job.rules.format {
        case .pax: .pax
        case .exact: .exact
        case .unspecified: .unspecified
        }
    }

    // MARK: Whiteouts

    /// A whiteout that lies on disk.
    private mutating func encodeWhiteout(_ item: ExportItem, _ entry: EntryRecord) throws(LayerError) {
        setName(item, entry, before: ".wh.")
        setLinkName(item.link)
        var fields = TarFields()
        fields.type = TarType.regular
        fields.mode = job.rules.whiteoutMode
        fields.uid = Int64(entry.uid)
        fields.gid = Int64(entry.gid)
        fields.mtimeSeconds = entry.mtimeSeconds
        try writeHeader(fields, owner: entry, format: entryFormat)
    }

    /// A deletion that a comparison found (D28).
    private mutating func encodeDeletion(_ item: ExportItem, _ entry: EntryRecord) throws(LayerError) {
        setName(item, entry, before: ".wh.")
        linkName.removeAll(keepingCapacity: true)
        var fields = TarFields()
        fields.type = TarType.regular
        fields.mtimeSeconds = job.rules.deletionTimeIsNow ? job.options.now : 0
        try writeHeader(fields, owner: nil, format: .unspecified)
    }

    /// The marker behind the header of an opaque directory (D11, D26).
    private mutating func encodeMarker(_ item: ExportItem, _ entry: EntryRecord) throws(LayerError) {
        setName(item, entry, slash: true)
        Self.appendText(WhiteoutName.opaqueMarker, to: &name)
        linkName.removeAll(keepingCapacity: true)
        var fields = try fields(entry, type: TarType.regular, item.directory)
        fields.mode = entry.mode & 0o777
        fields.mtimeSeconds = 0
        try writeHeader(fields, owner: entry, format: .unspecified)
    }
}

/// What an encoder counts.
struct ExportTally: Sendable {
    var entries = 0
    var newestTime = Int64.min
    var skippedUnreadable = 0
    var skippedVanished = 0
    /// A metadata-only copy was met.
    var sawRedirect = false
    var warnings: [String] = []
    var leftOutAttributes = LeftOutAttributes()
    /// Of copies that stay on this host.
    var unwritableAttributes = LeftOutAttributes()
    var io = IOCounters()
    var walk = WalkTally()

    /// Keeps a warning; what several workers found alike is said once.
    mutating func warn(_ text: String) {
        if warnings.count < 100, !warnings.contains(text) { warnings.append(text) }
    }

    /// Takes the counts of a segment that is handed in.
    mutating func add(_ counts: SegmentCounts) {
        entries += counts.entries
        newestTime = max(newestTime, counts.newestTime)
        skippedUnreadable += counts.skippedUnreadable
        skippedVanished += counts.skippedVanished
    }

    mutating func add(_ other: ExportTally) {
        entries += other.entries
        newestTime = max(newestTime, other.newestTime)
        skippedUnreadable += other.skippedUnreadable
        skippedVanished += other.skippedVanished
        sawRedirect = sawRedirect || other.sawRedirect
        for warning in other.warnings { warn(warning) }
        leftOutAttributes.add(other.leftOutAttributes)
        unwritableAttributes.add(other.unwritableAttributes)
        io.add(other.io)
        walk.add(other.walk)
    }
}
