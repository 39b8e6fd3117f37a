import LayerModel
import LayerRules
import TarCodec

/// Turns an archive's entries into a tree, by the rules by which unpacking makes files of them (`EntryTarget`) in an upper
/// directory that was empty.
struct PackJob: ~Copyable {
    let options: PackOptions
    let rules: EntryAttributeRules
    var tree = PackTree()
    var report = PackReport()
    /// Where the current entry begins in the stream.
    var entryOffset: UInt64 = 0
    /// Bytes of files so far, for the caller's bound.
    var fileBytes: UInt64 = 0
    var names = EntryNames()
    var waiting = WaitingLinks<UInt32, LinkMetadata>()
    /// The directory beside the tree that holds aufs's hard-linked files until they are linked.
    var plinkNode: UInt32?
    /// Attributes of the entry under way.
    var set = AttributeSet()

    init(_ options: PackOptions) {
        self.options = options
        rules = EntryAttributeRules(keepSELinux: options.keepSELinux)
    }

    /// Carries out an entry. Returns the inode of a regular file, whose body comes next.
    mutating func begin(_ entry: borrowing TarDecoder) throws(LayerError) -> UInt32? {
        entryOffset = entry.entryOffset
        report.entries += 1
        report.headerSum &+= UInt64(max(entry.fields.size, 0))
        return try carryOut(entry)
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

/// An index is what entries end up in; a place is the number of a name, a file that of its inode.
extension PackJob: EntryTarget {
    var generation: UInt64 { tree.generation }
    var creationForDeletions: Creation { options.parents == .unknown ? .unlessDeleted : .none }
    var appliesRootMetadata: Bool { options.applyRootMetadata }

    mutating func warn(_ text: @autoclosure () -> String) { report.warn(text()) }

    mutating func place(of name: RawSpan, in node: UInt32) throws(LayerError) -> UInt32 {
        do throws(PackFull) { return try tree.name(name, in: node) } catch {
            throw unfit("it has more names than an index can hold")
        }
    }

    mutating func changeRoot(_ entry: borrowing TarDecoder) throws(LayerError) {
        try describeDirectory(entry, PackTree.root)
    }

    mutating func keepAside(_ entry: borrowing TarDecoder, _ base: RawSpan) throws(LayerError) -> UInt32? {
        let node = plinkNode ?? tree.makeDirectoryAside()
        plinkNode = node
        return try makeFile(entry, at: try place(of: base, in: node))
    }

    mutating func hideLower(_ node: UInt32, asSaidBy fields: TarFields) { hideLower(node) }

    mutating func delete(_ name: UInt32, asSaidBy fields: TarFields, isDevice: Bool) {
        delete(name, Mark(fields), isDevice: isDevice)
    }

    mutating func prepare(_ name: UInt32) { tree.markUnpacked(tree.names[name].parent) }

    mutating func limit(_ name: UInt32) { tree.mark(name, .limited) }
}

extension LayerError {
    /// The error for a layer that an index cannot hold: it is to be unpacked instead.
    static func unfit(_ reason: String, offset: UInt64) -> LayerError {
        LayerError(
            .unsupported, "pack", cause: .archive(offset: offset, reason: reason),
            hint: "this layer cannot be packed: unpack it")
    }
}
