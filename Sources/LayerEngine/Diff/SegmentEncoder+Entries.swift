import Glibc
import LayerModel
import LayerRules
import LinuxIO
import TarCodec

extension SegmentEncoder {
    /// An entry: its header, and for a file that carries data, the contents or a piece of them.
    mutating func encodeEntry(
        _ item: ExportItem, _ entry: EntryRecord, _ segment: ExportSegment
    ) throws(LayerError) {
        if segment.length > 0 { return try encodePiece(item, entry, segment) }
        setName(item, entry, slash: entry.kind == .directory)
        setLinkName(item.link)
        if item.link != noIndex, job.options.skipUnreadable, try isLeftOut(item.link) {
            return skipUnreadable(item, entry)
        }
        if item.link == noIndex, entry.kind == .regular, entry.size > 0 {
            return try encodeFile(item, entry)
        }
        do throws(SystemCallError) {
            let parent = try walker.opener.handle(entry.origin)
            if item.link == noIndex, entry.kind == .symbolicLink {
                try readTarget(entry, parent.descriptor)
            }
            tally.io.attributeCalls += 1
            let names = names
            let pointer = names.pointer(entry.name)
            let policy = job.rules.attributes
            if try walker.attributes.list(of: pointer, in: parent.descriptor) > 0 || walker.attributes.isCut {
                noteCutList()
                var position = 0
                while position < walker.attributes.listByteCount {
                    let length = walker.attributes.name(at: position).byteCount
                    if policy.exports(walker.attributes.name(at: position)) {
                        let label = walker.attributes.name(at: position).copied()
                        if try walker.attributes.readValue(at: position, of: pointer, in: parent.descriptor) != nil {
                            addAttribute(label)
                        }
                    }
                    position += length + 1
                }
            }
        } catch {
            if error.errno == ENOENT {
                encoder = TarEncoder()
                return try vanished(item, entry)
            }
            // EINVAL of readlinkat: it is no symbolic link any more.
            if error.errno == EINVAL, entry.kind == .symbolicLink {
                throw changed(item, entry, "it was replaced while the layer was written")
            }
            // The entry itself is known, and kept without the attributes that may not be read.
            guard job.options.skipUnreadable, error.errno == EACCES || error.errno == EPERM, entry.kind != .symbolicLink
            else { throw failure(error, "read attributes of", item, entry) }
            segments.counts.skippedUnreadable += 1
        }
        var fields = try fields(entry, type: Self.type(entry, item), item.directory)
        fields.size = 0
        try writeHeader(fields, owner: entry, format: entryFormat)
    }

    /// The type flag of an entry's header.
    private static func type(_ entry: EntryRecord, _ item: ExportItem) -> UInt8 {
        if item.link != noIndex { return TarType.hardLink }
        return switch entry.kind {
        case .regular, .socket, .unknown: TarType.regular
        case .directory: TarType.directory
        case .symbolicLink: TarType.symbolicLink
        case .characterDevice: TarType.character
        case .blockDevice: TarType.block
        case .fifo: TarType.fifo
        }
    }

    /// Reads a symbolic link's text into `linkName`.
    private mutating func readTarget(_ entry: EntryRecord, _ parent: borrowing OwnedDescriptor)
        throws(SystemCallError)
    {
        let scratch = scratch
        let count = try parent.readLink(names.pointer(entry.name), into: scratch, 0..<scratch.capacity)
        Self.appendName(scratch.span(0..<count), to: &linkName)
    }

    /// Collects one attribute, whose value was just read, for the next header.
    mutating func addAttribute(_ label: [UInt8]) {
        // A copy that stays on this host: what does not go along with copies does not go along with this one.
        if job.rules.attributes.contains(.host), AttributeRules.leavesOut(label.rawBytes) {
            tally.leftOutAttributes.add(label.rawBytes)
            return
        }
        // Written in another spelling it would be two attributes to readers that know only one.
        guard TarEncoder.canWriteAttribute(named: label.rawBytes) else {
            if job.rules.attributes.contains(.host) { tally.unwritableAttributes.add(label.rawBytes) }
            tally.warn("left out the attribute \(PathBytes(label)) of \(PathBytes(name)): no layer can hold its name")
            return
        }
        guard job.rules.rewritesCapability, bytes(label.rawBytes, equal: "security.capability") else {
            let value = mappedValue(of: label)
            encoder.addExtendedAttribute(name: label.rawBytes, value: value.rawBytes)
            return
        }
        var value = walker.attributes.lastValue.copied()
        // Revision 3 carries a root uid that means nothing on another machine.
        if value.count == 24, value[3] == 3 {
            value[3] = 2
            value.removeLast(4)
        } else if value.count < 20 || (value[3] != 2 && value[3] != 1) {
            tally.warn("unusual security.capability exported as it is: \(PathBytes(name))")
        }
        encoder.addExtendedAttribute(name: label.rawBytes, value: value.rawBytes)
    }

    /// The attribute's value read last, with the container's ids where it is an access list. Ids without a place in the map
    /// are kept for the header, which then fails (`mappedIDs`).
    private mutating func mappedValue(of label: [UInt8]) -> [UInt8] {
        let value = walker.attributes.lastValue.copied()
        guard job.mapsIDs, EntryAttributeRules.isAccessList(label.rawBytes) else { return value }
        do throws(AccessListIDs.Unmapped) {
            return try AccessListIDs.container(value, users: job.options.uidMap, groups: job.options.gidMap)
        } catch {
            unmappedListID = error
            return value
        }
    }

    /// Says that a file has more attributes than the kernel lists.
    mutating func noteCutList() {
        guard walker.attributes.isCut, job.rules.attributes.contains(.user) else { return }
        tally.warn(
            "left out attributes of \(PathBytes(name)): their names are more than the 64 KiB that the kernel lists; "
                + "only a capability and access lists were kept")
    }

    // MARK: What goes wrong

    mutating func skipUnreadable(_ item: ExportItem, _ entry: EntryRecord) {
        segments.counts.skippedUnreadable += 1
        tally.warn("skipped unreadable file \(fullPath(item, entry))")
    }

    /// Whether the file that a link refers to is left out because it may not be read; then so are its other names.
    private mutating func isLeftOut(_ link: UInt32) throws(LayerError) -> Bool {
        let target = store.entries[Int(job.plan.items[Int(link)].entry)]
        guard target.kind == .regular, target.size > 0 else { return false }
        do throws(SystemCallError) {
            if case .unreadable = try openVerified(target) { return true }
            return false
        } catch { return false }
    }

    /// A name that is gone: left out, unless the policy or a later link to it says otherwise.
    mutating func vanished(_ item: ExportItem, _ entry: EntryRecord) throws(LayerError) {
        if job.options.vanished == .fail { throw changed(item, entry, "it vanished while the layer was written") }
        try refuseIfLinked(item, entry)
        segments.counts.skippedVanished += 1
        skippedItem = true
    }

    /// Other names in the layer are links to this one, so it cannot be left out.
    private mutating func refuseIfLinked(_ item: ExportItem, _ entry: EntryRecord) throws(LayerError) {
        guard entry.linkCount > 1, item.link == noIndex else { return }
        try completePlan()
        if job.hasLinks(to: item) {
            throw changed(item, entry, "it cannot be read, and other names of the layer are links to it")
        }
    }

    @inline(never)
    func changed(_ item: ExportItem, _ entry: EntryRecord, _ reason: String) -> LayerError {
        LayerError(
            .fileChanged, "read", path: fullPath(item, entry), cause: .reason(reason),
            hint: "export a tree that nothing writes to, or a snapshot of it")
    }

    @inline(never)
    func failure(_ error: SystemCallError, _ operation: String, _ item: ExportItem, _ entry: EntryRecord)
        -> LayerError
    {
        // Reading a FIFO or a directory: the name stood for a file when the tree was walked.
        if error.errno == ESPIPE || error.errno == EISDIR {
            return changed(item, entry, "it was replaced by something that is no file")
        }
        let hint: String? =
            error.errno == EACCES
            ? "run as root, or use --skip-unreadable"
            : error.isOutOfDescriptors ? "raise the limit of open files (ulimit -n), or use fewer workers" : nil
        return LayerError(error, operation, path: fullPath(item, entry), hint: hint)
    }

    func fullPath(_ item: ExportItem, _ entry: EntryRecord) -> PathBytes {
        let inside = store.path(directory: item.directory, name: entry.name).bytes
        return PathBytes(job.roots.path(0).bytes + [UInt8(ascii: "/")] + inside)
    }
}
