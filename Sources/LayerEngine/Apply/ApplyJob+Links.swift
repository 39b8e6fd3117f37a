import LayerModel
import LinuxIO
import TarCodec

/// A hard link whose target had not come yet when its entry was read.
struct DeferredLink {
    var node: UInt32
    var record: UInt32
    var target: [UInt8]
    var metadata: LinkMetadata
    var offset: UInt64
}

/// What a link's header says of the inode.
struct LinkMetadata {
    var mode: UInt32
    var uid: UInt32
    var gid: UInt32
    var access: TimeStamp
    var modification: TimeStamp
    var attributes = AttributeSet()
}

/// Hard links (layer-archive.md 3.8).
extension ApplyJob {
    /// Memory that links to later names may hold.
    private static var deferredBytesLimit: Int { 64 << 20 }

    func makeHardLink(_ entry: borrowing TarDecoder, _ record: UInt32, in node: UInt32) throws(LayerError) {
        let ids = try ids(of: entry.fields)
        let times = times(of: entry)
        var metadata = LinkMetadata(
            mode: entry.fields.mode & 0o7777, uid: ids.uid, gid: ids.gid, access: times.access,
            modification: times.modification)
        for index in 0..<entry.extendedAttributeCount where accepts(entry.extendedAttributeName(index), of: entry) {
            metadata.attributes.append(
                name: entry.extendedAttributeName(index), value: entry.extendedAttributeValue(index))
        }
        let target = entry.linkName
        if try linkMetadataFile(target, record, in: node) { return }
        if try link(record, in: node, to: target, metadata) { return }
        let copy = target.copied()
        deferredBytes += copy.count + metadata.attributes.byteCount + 128
        guard deferredBytes <= Self.deferredBytesLimit else {
            throw LayerError(
                .limitExceeded, "apply",
                cause: .archive(offset: entryOffset, reason: "too many hard links come before their targets"))
        }
        tree.records[Int(record)].flags.insert(.deferred)
        deferredLinks.append(
            DeferredLink(node: node, record: record, target: copy, metadata: metadata, offset: entryOffset))
    }

    /// Links a name to `target`; false where that does not exist.
    func link(_ record: UInt32, in node: UInt32, to target: RawSpan, _ metadata: LinkMetadata) throws(LayerError)
        -> Bool
    {
        var cleaned = ArchiveName()
        do throws(ArchiveName.Problem) {
            try cleaned.clean(target, lenient: options.lenientNames)
        } catch {
            throw refusal(.unsafePath, "the link's target climbs above the root")
        }
        guard !cleaned.isRoot else { throw refusal(.invalidArchive, "a hard link leads to the root") }
        guard cleaned.base.byteCount <= 255 else { throw refusal(.invalidArchive, "the link's target is too long") }
        guard let source = try directory(at: cleaned.directory, create: .none) else { return false }
        let sourceRecord = try tree.record(of: cleaned.base, in: source)
        var kind = try kind(of: sourceRecord, in: source)
        if kind == .unknown, try copyUpLinkTarget(sourceRecord, in: source) {
            kind = tree.records[Int(sourceRecord)].kind
        }
        guard kind != .unknown else { return false }
        guard kind != .directory else {
            throw LayerError(SystemCallError("linkat", errno: 1), "apply", path: nil)
        }
        try settle(source)
        // A43: a link that names itself must not remove itself first.
        if sourceRecord != record { try connect(record, in: node, to: sourceRecord, in: source, kind) }
        noteUnpacked(record, in: node, kind)
        tree.markUnpacked(node)
        try apply(metadata, to: record, in: node, kind)
        return true
    }

    private func connect(
        _ record: UInt32, in node: UInt32, to sourceRecord: UInt32, in source: UInt32, _ kind: EntryKind
    ) throws(LayerError) {
        _ = try clear(record, in: node)
        let arena = tree.arena
        let name = tree.records[Int(record)].name
        let sourceName = tree.records[Int(sourceRecord)].name
        let handle = try handle(node)
        let sourceHandle = try self.handle(source)
        try refuseMarkerName(name)
        report.io.creates += 1
        do throws(SystemCallError) {
            try handle.descriptor.makeHardLink(
                arena.pointer(name), to: arena.pointer(sourceName), in: sourceHandle.descriptor)
        } catch {
            // A44: too many links, or another file system mounted inside: a copy instead.
            guard error.errno == 31 || error.errno == 18, kind == .regular else {
                throw LayerError(error, "apply", path: nil)
            }
            try copyFile(sourceName, in: sourceHandle, to: name, in: handle)
            report.io.stats += 1
            let copy = try attempt { () throws(SystemCallError) in try handle.descriptor.metadata(arena.pointer(name)) }
            report.uniqueFileBytes &+= UInt64(max(copy.size, 0))
        }
    }

    /// A40: the owner is set only where it differs, since setting it clears capabilities.
    private func apply(_ metadata: LinkMetadata, to record: UInt32, in node: UInt32, _ kind: EntryKind)
        throws(LayerError)
    {
        let arena = tree.arena
        let name = tree.records[Int(record)].name
        let handle = try handle(node)
        report.io.stats += 1
        let current = try attempt { () throws(SystemCallError) in try handle.descriptor.metadata(arena.pointer(name)) }
        var setsMode = current.mode & 0o7777 != metadata.mode || metadata.attributes.count > 0
        if current.uid != metadata.uid || current.gid != metadata.gid {
            let capability = try readCapability(of: name, in: handle)
            try setOwner(metadata.uid, metadata.gid, of: name, in: handle)
            if let capability {
                try attempt { () throws(SystemCallError) in
                    try handle.descriptor.setAttribute(
                        NamePointer("security.capability"), capability.rawBytes, of: arena.pointer(name))
                }
            }
            setsMode = true
        }
        let attributes = metadata.attributes
        for index in 0..<attributes.count {
            let attribute = attributes.name(index)
            do throws(SystemCallError) {
                try handle.descriptor.setAttribute(
                    NamePointer(terminated: attribute), attributes.value(index), of: arena.pointer(name))
            } catch {
                let plain = attribute.extracting(0..<attribute.byteCount - 1)
                guard policy.tolerates(error.errno, attribute: plain, of: kind) else {
                    throw LayerError(error, "apply", path: nil)
                }
                report.warn("\(tree.path(of: name, in: node)): an attribute was not set: \(errorText(error.errno))")
            }
        }
        let sameTime =
            current.mtimeSeconds == metadata.modification.seconds
            && current.mtimeNanoseconds == metadata.modification.nanoseconds
        try attempt { () throws(SystemCallError) in
            if setsMode, kind != .symbolicLink { try handle.descriptor.setMode(arena.pointer(name), metadata.mode) }
            if !sameTime {
                try handle.descriptor.setTimes(
                    arena.pointer(name), access: metadata.access, modification: metadata.modification)
            }
        }
    }

    private func readCapability(of name: NameRef, in handle: DirectoryHandle) throws(LayerError) -> [UInt8]? {
        let arena = tree.arena
        do throws(SystemCallError) {
            guard
                try reader.read(NamePointer("security.capability"), of: arena.pointer(name), in: handle.descriptor)
                    != nil
            else { return nil }
        } catch {
            throw LayerError(error, "apply", path: nil)
        }
        return reader.lastValueBytes
    }

    /// Copies a file's bytes, mode and owner to a new name.
    func copyFile(_ source: NameRef, in sourceHandle: DirectoryHandle, to name: NameRef, in handle: DirectoryHandle)
        throws(LayerError)
    {
        let arena = tree.arena
        let buffer = scratch
        try attempt { () throws(SystemCallError) in
            let input = try sourceHandle.descriptor.open(arena.pointer(source), [.readOnly, .noFollow, .nonBlocking])
            let metadata = try input.metadata()
            let output = try handle.descriptor.open(
                arena.pointer(name), [.create, .exclusive, .noFollow, .writeOnly], mode: 0o600)
            try output.copyContents(of: input, size: metadata.size, buffer: buffer)
            try output.setOwner(uid: metadata.uid, gid: metadata.gid)
            try output.setMode(metadata.mode & 0o7777)
            try output.close()
        }
    }

    /// Makes the links whose targets came later; a chain of them in any order costs one look at each (A42).
    func makeDeferredLinks() throws(LayerError) {
        var waiting = deferredLinks
        deferredLinks = []
        var backwards = true
        var passesLeft = 64
        while !waiting.isEmpty {
            let before = waiting.count
            var still: [DeferredLink] = []
            if backwards { waiting.reverse() }
            for link in waiting where tree.records[Int(link.record)].flags.contains(.deferred) {
                entryOffset = link.offset
                if try !self.link(link.record, in: link.node, to: link.target.rawBytes, link.metadata) {
                    still.append(link)
                }
            }
            if backwards { still.reverse() }
            waiting = still
            passesLeft -= 1
            if still.count == before && !backwards || (passesLeft == 0 && !still.isEmpty) {
                var first = still[0]
                for link in still where try !isDeferred(link.target) {
                    first = link
                    break
                }
                throw LayerError(
                    .invalidArchive, "apply",
                    path: tree.path(of: tree.records[Int(first.record)].name, in: first.node),
                    cause: .archive(
                        offset: first.offset, reason: "the hard link's target \(PathBytes(first.target)) does not exist"
                    ))
            }
            backwards.toggle()
        }
    }
}

extension ApplyJob {
    /// Whether a target is itself a link that waits.
    private func isDeferred(_ target: [UInt8]) throws(LayerError) -> Bool {
        var cleaned = ArchiveName()
        do throws(ArchiveName.Problem) {
            try cleaned.clean(target.rawBytes, lenient: options.lenientNames)
        } catch {
            return false
        }
        guard let node = try directory(at: cleaned.directory, create: .none),
            let record = tree.existingRecord(of: cleaned.base, in: node)
        else { return false }
        return tree.records[Int(record)].flags.contains(.deferred)
    }
}

extension OwnedDescriptor {
    /// Copies the first `size` bytes of `source`: shared blocks if the file system can, else inside the kernel.
    func copyContents(of source: borrowing OwnedDescriptor, size: Int64, buffer: Slab) throws(SystemCallError) {
        if try clone(from: source) { return }
        var left = size
        while left > 0 {
            if let count = try copyRange(from: source, count: Int(min(left, 1 << 30))) {
                if count == 0 { return }
                left -= Int64(count)
            } else {
                let count = try source.read(into: buffer, 0..<buffer.capacity)
                if count == 0 { return }
                try writeAll(buffer.span(0..<count))
                left -= Int64(count)
            }
        }
    }
}

extension AttributeReader {
    /// A copy of the value read last.
    var lastValueBytes: [UInt8] { lastValue.copied() }
}
