import Glibc
import LayerModel
import LinuxIO
import TarCodec

/// Files with contents: opened, looked at, and read. Nothing is read from a descriptor that is not the file of the walk.
extension SegmentEncoder {
    /// A file that leaves whole: attributes and bytes come through the same descriptor.
    mutating func encodeFile(_ item: ExportItem, _ entry: EntryRecord) throws(LayerError) {
        let upper: OwnedDescriptor
        switch try openFile(item, entry) {
        case .opened(let file): upper = file
        case .vanished: return try vanished(item, entry)
        case .unreadable: return skipUnreadable(item, entry)
        case .replaced: throw changed(item, entry, "it was replaced while the layer was written")
        }
        let padding = TarEncoder.padding(after: entry.size)
        var file = upper
        if try writeFileHeader(of: file, item, entry, bodyByteCount: entry.size + Int64(padding)) {
            file = try openData(item, entry)
        }
        let place = segments.reserveBody(Int(entry.size))
        if let rest = try readAtOnce(file, item, entry, place, at: 0) {
            let offset = Int64(rest.range.lowerBound - place.range.lowerBound)
            try queueRead(file, rest, at: offset, item)
        }
        segments.appendPadding(padding)
    }

    /// A piece of a large file; the first one brings the header.
    mutating func encodePiece(_ item: ExportItem, _ entry: EntryRecord, _ segment: ExportSegment) throws(LayerError) {
        setName(item, entry)
        setLinkName(item.link)
        guard let file = try largeFile(item, entry, segment) else {
            skippedItem = true
            return
        }
        defer { job.largeFiles.release(segment.first) }
        let isLast = segment.offset + segment.length == entry.size
        let padding = isLast ? TarEncoder.padding(after: entry.size) : 0
        let byteCount = segment.length + Int64(padding)
        if segment.offset == 0 {
            _ = try writeFileHeader(of: file.named.descriptor, item, entry, bodyByteCount: byteCount)
        } else {
            segments.continueBody(byteCount)
        }
        let place = segments.reserveBody(Int(segment.length))
        if let rest = try readAtOnce(file.data.descriptor, item, entry, place, at: segment.offset) {
            let done = Int64(rest.range.lowerBound - place.range.lowerBound)
            try segments.queue(file.data, rest, at: segment.offset + done, item)
        }
        segments.appendPadding(padding)
    }

    private mutating func queueRead(
        _ file: consuming OwnedDescriptor, _ place: BodyPlace, at offset: Int64, _ item: ExportItem
    ) throws(LayerError) {
        try segments.queue(file, place, at: offset, item)
    }

    /// Writes the header of an open file; true where its data lie elsewhere (metacopy).
    private mutating func writeFileHeader(
        of file: borrowing OwnedDescriptor, _ item: ExportItem, _ entry: EntryRecord, bodyByteCount: Int64
    ) throws(LayerError) -> Bool {
        var isMetacopy = false
        tally.io.attributeCalls += 1
        do throws(SystemCallError) {
            if try walker.attributes.list(of: file) > 0 || walker.attributes.isCut {
                noteCutList()
                isMetacopy = try collectAttributes(of: file)
            }
        } catch { throw failure(error, "read attributes of", item, entry) }
        var fields = try fields(entry, type: TarType.regular, item.directory)
        fields.size = entry.size
        try writeHeader(fields, owner: entry, format: entryFormat, bodyByteCount: bodyByteCount)
        return isMetacopy
    }

    /// Collects the exported attributes of an open file; returns whether its data lie elsewhere (metacopy).
    private mutating func collectAttributes(of file: borrowing OwnedDescriptor) throws(SystemCallError) -> Bool {
        let policy = job.rules.attributes
        var isMetacopy = false
        var position = 0
        while position < walker.attributes.listByteCount {
            let length = walker.attributes.name(at: position).byteCount
            if policy.exports(walker.attributes.name(at: position)) {
                let label = walker.attributes.name(at: position).copied()
                tally.io.attributeCalls += 1
                if try walker.attributes.readValue(at: position, of: file) != nil { addAttribute(label) }
            } else if job.walk.dialect.mark(walker.attributes.name(at: position)) == .metacopy {
                isMetacopy = true
            }
            position += length + 1
        }
        if isMetacopy { tally.sawRedirect = true }
        return isMetacopy
    }

    // MARK: Large files

    /// The file of a piece, opened by whoever comes first; nil where it is left out.
    private mutating func largeFile(_ item: ExportItem, _ entry: EntryRecord, _ segment: ExportSegment)
        throws(LayerError) -> LargeFile?
    {
        let pieces = (entry.size + ExportPlan.pieceSize - 1) / ExportPlan.pieceSize
        while true {
            switch job.largeFiles.claim(segment.first, pieces: pieces) {
            case .ready(let file): return file
            case .leftOut:
                job.largeFiles.release(segment.first)
                return nil
            case .failed(let error): throw error
            case .busy:
                // Whoever opens it may wait for a descriptor that a read of ours holds.
                if try !reap(wait: true) { job.largeFiles.waitUntilSettled(segment.first) }
            case .open:
                do throws(LayerError) {
                    let opened = try openLargeFile(item, entry)
                    job.largeFiles.settle(segment.first, opened.map { .ready($0) } ?? .leftOut)
                } catch {
                    job.largeFiles.settle(segment.first, .failed(error))
                    throw error
                }
            }
        }
    }

    private mutating func openLargeFile(_ item: ExportItem, _ entry: EntryRecord) throws(LayerError) -> LargeFile? {
        let named: SharedDescriptor
        switch try openFile(item, entry) {
        case .opened(let file): named = SharedDescriptor(file)
        case .vanished:
            try vanished(item, entry)
            return nil
        case .unreadable:
            skipUnreadable(item, entry)
            return nil
        case .replaced: throw changed(item, entry, "it was replaced while the layer was written")
        }
        guard job.walk.dialect.movedContents != .ignored else { return LargeFile(named: named, data: named) }
        let isMetacopy: Bool
        do throws(SystemCallError) {
            isMetacopy = try walker.attributes.marks(of: named.descriptor, dialect: job.walk.dialect).metacopy
        } catch { throw failure(error, "read attributes of", item, entry) }
        guard isMetacopy else { return LargeFile(named: named, data: named) }
        return LargeFile(named: named, data: SharedDescriptor(try openData(item, entry)))
    }

    // MARK: Opening

    /// Opens a file that the walk saw. Where the process or the system has no descriptor left, waits for one.
    private mutating func openFile(_ item: ExportItem, _ entry: EntryRecord) throws(LayerError) -> FileOpening {
        var patience = DescriptorPatience()
        while true {
            do throws(SystemCallError) { return try openVerified(entry) } catch {
                guard error.isOutOfDescriptors else { throw failure(error, "open", item, entry) }
                if try reap(wait: true) { continue }
                walker.opener.closeAll()
                try job.walk.cancel.check()
                guard patience.wait() else { throw failure(error, "open", item, entry) }
            }
        }
    }

    /// Opens the file of an entry, if it is still that file.
    mutating func openVerified(_ entry: EntryRecord) throws(SystemCallError) -> FileOpening {
        tally.io.opens += 1
        tally.io.stats += 1
        do throws(SystemCallError) {
            let parent = try walker.opener.handle(entry.origin)
            switch try SeenFile(entry).open(names.pointer(entry.name), in: parent.descriptor) {
            case .same(let file, _): return .opened(file)
            case .vanished: return .vanished
            case .changed: return .replaced
            }
        } catch {
            switch error.errno {
            case ENOENT: return .vanished
            case EACCES where job.options.skipUnreadable, EPERM where job.options.skipUnreadable: return .unreadable
            default: throw error
            }
        }
    }
}

/// A file that leaves in pieces: the one of the name, which has the attributes, and the one that holds the data.
struct LargeFile {
    let named: SharedDescriptor
    let data: SharedDescriptor
}

/// What came of opening a file that the walk saw.
enum FileOpening: ~Copyable {
    case opened(OwnedDescriptor)
    case vanished
    case unreadable
    /// Something else has the name now.
    case replaced
}
