import LayerModel
import LinuxIO
import TarCodec

extension SegmentEncoder {
    /// An entry: its header, and for a file that carries data, the contents or a piece of them.
    mutating func encodeEntry(
        _ item: ExportItem, _ entry: EntryRecord, _ segment: ExportSegment, _ slab: inout Slab
    ) throws(LayerError) {
        if segment.offset > 0 { return try encodeLaterPiece(item, entry, segment, &slab) }
        setName(item, entry, slash: entry.kind == .directory)
        setLinkName(item.link)
        if item.link != noIndex, job.options.skipUnreadable, try isLeftOut(item.link) {
            return skipUnreadable(item, entry)
        }
        if item.link == noIndex, entry.kind == .regular, entry.size > 0 {
            return try encodeFile(item, entry, segment, &slab)
        }
        var target = entry
        do throws(SystemCallError) {
            let parent = try walker.opener.handle(entry.origin)
            if item.link == noIndex, entry.kind == .symbolicLink {
                guard try readTarget(entry, parent.descriptor) else { return skipVanished(item, entry) }
            }
            tally.io.attributeCalls += 1
            let names = names
            let pointer = names.pointer(entry.name)
            let policy = job.rules.attributes
            if try walker.attributes.list(of: pointer, in: parent.descriptor) > 0 {
                var position = 0
                while position < walker.attributes.listByteCount {
                    let length = walker.attributes.name(at: position).byteCount
                    if policy.exports(walker.attributes.name(at: position)) {
                        let label = walker.attributes.name(at: position).copied()
                        if try walker.attributes.readValue(at: position, of: pointer, in: parent.descriptor) != nil {
                            addAttribute(label)
                        }
                    } else if policy.contains(.overrides), isOverride(walker.attributes.name(at: position)) {
                        if try walker.attributes.readValue(at: position, of: pointer, in: parent.descriptor) != nil {
                            target.applyOverride(walker.attributes.lastValue.copied())
                        }
                    }
                    position += length + 1
                }
            }
        } catch {
            if error.errno == 2 {
                encoder = TarEncoder()
                return try vanished(item, entry, segment)
            }
            // The entry itself is known, and kept without the attributes that may not be read.
            guard job.options.skipUnreadable, error.errno == 13 || error.errno == 1, entry.kind != .symbolicLink
            else { throw failure(error, "read attributes of", item, entry) }
            tally.skippedUnreadable += 1
        }
        var fields = try fields(target, type: Self.type(target, item), item.directory)
        fields.size = 0
        try writeHeader(fields, owner: target, format: entryFormat, &slab)
    }

    private func isOverride(_ name: RawSpan) -> Bool {
        bytes(name, equal: "user.containers.override_stat") || bytes(name, equal: "security.containers.override_stat")
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

    /// Reads a symbolic link's text into `linkName`; false where it is gone.
    private mutating func readTarget(_ entry: EntryRecord, _ parent: borrowing OwnedDescriptor)
        throws(SystemCallError) -> Bool
    {
        do throws(SystemCallError) {
            let scratch = scratch
            let count = try parent.readLink(names.pointer(entry.name), into: scratch, 0..<scratch.capacity)
            Self.appendName(scratch.span(0..<count), to: &linkName)
            return true
        } catch {
            if error.errno == 2 { return false }
            throw error
        }
    }

    /// Collects one attribute, whose value was just read, for the next header.
    private mutating func addAttribute(_ label: [UInt8]) {
        guard job.rules.rewritesCapability, bytes(label.rawBytes, equal: "security.capability") else {
            let value = walker.attributes.lastValue.copied()
            encoder.addExtendedAttribute(name: label.rawBytes, value: value.rawBytes)
            return
        }
        var value = walker.attributes.lastValue.copied()
        // Revision 3 carries a root uid that means nothing on another machine (layer-archive.md D13).
        if value.count == 24, value[3] == 3 {
            value[3] = 2
            value.removeLast(4)
        } else if value.count < 20 || (value[3] != 2 && value[3] != 1) {
            tally.warn("unusual security.capability exported as it is: \(PathBytes(name))")
        }
        encoder.addExtendedAttribute(name: label.rawBytes, value: value.rawBytes)
    }

    // MARK: Files

    /// A file with contents: opened once; attributes and bytes come through the same descriptor.
    private mutating func encodeFile(
        _ item: ExportItem, _ entry: EntryRecord, _ segment: ExportSegment, _ slab: inout Slab
    ) throws(LayerError) {
        guard let opened = try openFile(item, entry, segment) else { return }
        var file = opened
        var target = entry
        var isMetacopy = false
        tally.io.attributeCalls += 1
        do throws(SystemCallError) {
            if try walker.attributes.list(of: file) > 0 {
                isMetacopy = try collectAttributes(of: file, &target)
            }
        } catch { throw failure(error, "read attributes of", item, entry) }
        if isMetacopy { file = try openData(item, entry) }
        var fields = try fields(target, type: Self.type(target, item), item.directory)
        let hasBody = target.kind == .regular
        fields.size = hasBody ? entry.size : 0
        try writeHeader(fields, owner: target, format: entryFormat, &slab)
        guard hasBody else { return }
        let length = segment.length > 0 ? segment.length : entry.size
        try readBody(file, item, entry, offset: 0, length: length, &slab)
        if length == entry.size { pad(entry.size, &slab) }
    }

    /// Collects the exported attributes of an open file; returns whether its data lie elsewhere (metacopy).
    private mutating func collectAttributes(of file: borrowing OwnedDescriptor, _ target: inout EntryRecord)
        throws(SystemCallError) -> Bool
    {
        let policy = job.rules.attributes
        var isMetacopy = false
        var position = 0
        while position < walker.attributes.listByteCount {
            let length = walker.attributes.name(at: position).byteCount
            if policy.exports(walker.attributes.name(at: position)) {
                let label = walker.attributes.name(at: position).copied()
                tally.io.attributeCalls += 1
                if try walker.attributes.readValue(at: position, of: file) != nil { addAttribute(label) }
            } else if policy.contains(.overrides), isOverride(walker.attributes.name(at: position)) {
                if try walker.attributes.readValue(at: position, of: file) != nil {
                    target.applyOverride(walker.attributes.lastValue.copied())
                }
            } else if job.readsOverlayMarks {
                let label = walker.attributes.name(at: position)
                if bytes(label, equal: "trusted.overlay.metacopy") || bytes(label, equal: "user.overlay.metacopy") {
                    isMetacopy = true
                }
            }
            position += length + 1
        }
        if isMetacopy { tally.sawRedirect = true }
        return isMetacopy
    }

    /// A piece of a large file behind the first: contents only.
    private mutating func encodeLaterPiece(
        _ item: ExportItem, _ entry: EntryRecord, _ segment: ExportSegment, _ slab: inout Slab
    ) throws(LayerError) {
        setName(item, entry)
        guard let opened = try openFile(item, entry, segment) else { return }
        var file = opened
        if job.readsOverlayMarks {
            var unused = entry
            do throws(SystemCallError) {
                if try walker.attributes.list(of: file) > 0 {
                    let isMetacopy = try collectAttributes(of: file, &unused)
                    encoder = TarEncoder()
                    if isMetacopy {
                        do throws(LayerError) { file = try openData(item, entry) } catch {
                            throw SystemCallError("openat", errno: 5)
                        }
                    }
                }
            } catch { throw failure(error, "read attributes of", item, entry) }
        }
        try readBody(file, item, entry, offset: segment.offset, length: segment.length, &slab)
        if segment.offset + segment.length == entry.size { pad(entry.size, &slab) }
    }

    /// Fills the last block of a body with zeros.
    private func pad(_ size: Int64, _ slab: inout Slab) {
        let padding = TarEncoder.padding(after: size)
        Self.makeRoom(padding, &slab)
        slab.appendZeros(padding)
    }

    /// Opens a file that the walk saw; nil where it is left out because it is gone or may not be read.
    private mutating func openFile(_ item: ExportItem, _ entry: EntryRecord, _ segment: ExportSegment)
        throws(LayerError) -> OwnedDescriptor?
    {
        tally.io.opens += 1
        let parent: OpenDirectory
        do throws(SystemCallError) { parent = try walker.opener.handle(entry.origin) } catch {
            if error.errno == 2 {
                try vanished(item, entry, segment)
                return nil
            }
            throw failure(error, "open directory of", item, entry)
        }
        // NONBLOCK, so that a name swapped for a FIFO cannot hang us; NOFOLLOW, so that one swapped for a link fails.
        switch parent.descriptor.tryOpen(names.pointer(entry.name), [.readOnly, .noFollow, .nonBlocking]) {
        case .success(let number): return OwnedDescriptor(adopting: number)
        case .failure(let error):
            switch error.errno {
            case 2:
                try vanished(item, entry, segment)
                return nil
            case 13 where job.options.skipUnreadable, 1 where job.options.skipUnreadable:
                if segment.offset == 0 { skipUnreadable(item, entry) }
                skippedItem = true
                return nil
            case 40:
                throw changed(item, entry, "it was replaced by a symbolic link while the layer was written")
            default:
                throw failure(error, "open", item, entry)
            }
        }
    }

    // MARK: What goes wrong

    private mutating func skipUnreadable(_ item: ExportItem, _ entry: EntryRecord) {
        tally.skippedUnreadable += 1
        tally.warn("skipped unreadable file \(fullPath(item, entry))")
    }

    /// Whether the file that a link refers to is left out because it may not be read; then so are its other names.
    private mutating func isLeftOut(_ link: UInt32) throws(LayerError) -> Bool {
        let target = store.entries[Int(job.plan.items[Int(link)].entry)]
        guard target.kind == .regular, target.size > 0 else { return false }
        do throws(SystemCallError) {
            let parent = try walker.opener.handle(target.origin)
            _ = try parent.descriptor.open(names.pointer(target.name), [.readOnly, .noFollow, .nonBlocking])
            return false
        } catch { return error.errno == 13 || error.errno == 1 }
    }

    private mutating func skipVanished(_ item: ExportItem, _ entry: EntryRecord) {
        skippedItem = true
        tally.skippedVanished += 1
    }

    /// A name that is gone: left out, unless the policy or a later link to it says otherwise.
    private mutating func vanished(_ item: ExportItem, _ entry: EntryRecord, _ segment: ExportSegment)
        throws(LayerError)
    {
        if job.options.vanished == .fail { throw changed(item, entry, "it vanished while the layer was written") }
        try refuseIfLinked(item, entry)
        if segment.offset == 0 { tally.skippedVanished += 1 }
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
        if error.errno == 29 || error.errno == 21 {
            return changed(item, entry, "it was replaced by something that is no file")
        }
        let hint = error.errno == 13 ? "run as root, or use --skip-unreadable" : nil
        return LayerError(error, operation, path: fullPath(item, entry), hint: hint)
    }

    func fullPath(_ item: ExportItem, _ entry: EntryRecord) -> PathBytes {
        let inside = store.path(directory: item.directory, name: entry.name).bytes
        return PathBytes(job.roots.path(0).bytes + [UInt8(ascii: "/")] + inside)
    }
}
