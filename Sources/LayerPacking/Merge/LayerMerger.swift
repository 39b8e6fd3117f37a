package import LayerModel

/// Makes one index of several layers: what an overlay of them shows. Layers are added from the lowest up.
///
/// Only indexes are read. The contents stay where they are: the merged index has the devices of all layers, in the order in
/// which they were added.
package struct LayerMerger: ~Copyable {
    /// The devices of the layers so far.
    package private(set) var devices: [PackDevice] = []

    private var tree = PackTree()
    private var report = PackReport()
    private let options: PackOptions

    /// `parents` of the options: whether there are layers below the lowest one, so that deletions must be kept.
    package init(_ options: PackOptions = PackOptions()) { self.options = options }

    private var keepsDeletions: Bool { options.parents == .unknown }

    /// A layer's index being added.
    private struct Layer: ~Escapable {
        let reader: ErofsReader
        /// The merged devices in front of the layer's own.
        let firstDevice: Int
        /// Inodes with several names, by their number in the layer.
        var links: [UInt64: UInt32] = [:]
        /// Directories that were met, so that none is gone through twice.
        var seen: Set<UInt64> = []
        let implied: Set<UInt64>

        @_lifetime(copy reader)
        init(_ reader: consuming ErofsReader, firstDevice: Int, implied: Set<UInt64>) {
            self.reader = reader
            self.firstDevice = firstDevice
            self.implied = implied
        }
    }

    /// Adds the next layer. `implied`: its directories, by the numbers of their inodes, that do not count over those of lower
    /// layers.
    ///
    /// After an error the merger is of no use any more.
    package mutating func add(_ image: RawSpan, implied: [UInt64] = []) throws(LayerError) {
        do throws(ErofsProblem) {
            let reader = try ErofsReader(image)
            let firstDevice = devices.count
            for number in 0..<reader.deviceCount { devices.append(try reader.device(number + 1)) }
            var layer = Layer(reader, firstDevice: firstDevice, implied: Set(implied))
            try add(&layer)
        } catch {
            throw LayerError(error, index: nil)
        }
        guard devices.count <= ErofsFormat.mostDevices else {
            throw LayerError.unfit("the layers have more than \(ErofsFormat.mostDevices) files of contents", offset: 0)
        }
    }

    private mutating func add(_ layer: inout Layer) throws(ErofsProblem) {
        let root = try layer.reader.inode(layer.reader.root)
        if try isOpaque(root, layer) {
            report.isRootOpaque = true
            clearRoot()
        }
        try describe(PackTree.root, as: root, &layer)
        var waiting = [(node: PackTree.root, directory: root)]
        while let (node, directory) = waiting.popLast() {
            guard layer.seen.insert(directory.number).inserted else { throw .loops }
            var place = ErofsDirectoryPlace()
            while let entry = try layer.reader.nextEntry(directory, &place) {
                guard !layer.reader.isDots(entry) else { continue }
                let inode = try layer.reader.inode(entry.number)
                if let child = try add(inode, entry.name, to: node, &layer) { waiting.append((child, inode)) }
            }
        }
    }

    /// Adds what lies under a name; returns the node of a directory, which is to be gone through.
    private mutating func add(_ inode: ErofsInode, _ range: Range<Int>, to node: UInt32, _ layer: inout Layer)
        throws(ErofsProblem) -> UInt32?
    {
        let name = try name(layer.reader.image.extracting(range), in: node)
        let known = tree.names[name]
        let isThere = known.kind != .unknown
        let isDeleted = known.flags.contains(.whiteout)
        if inode.isWhiteout {
            if isThere { tree.clear(name) }
            guard keepsDeletions, !isDeleted, !tree.isBelowOpaque(node) else { return nil }
            tree.delete(name, tree.inodes.append(try described(inode, &layer)))
            return nil
        }
        guard inode.kind == .directory else {
            let index = try index(of: inode, &layer)
            tree.clear(name)
            tree.put(index, at: name, .unpacked)
            return nil
        }
        let isOpaque = try isOpaque(inode, layer)
        if let child = tree.directory(name), !isOpaque {
            try describe(child, as: inode, &layer)
            return child
        }
        tree.clear(name)
        let flags: NodeFlags = layer.implied.contains(inode.number) ? .implied : []
        let child = tree.makeDirectory(try described(inode, &layer), at: name, flags)
        if keepsDeletions, isOpaque || isThere || isDeleted { tree.makeOpaque(child) }
        return child
    }

    /// Nothing of the layers below this one shows.
    private mutating func clearRoot() {
        var next = tree.directories[PackTree.root].firstChild
        while next != 0 {
            tree.clear(next)
            next = tree.names[next].next
        }
        if keepsDeletions { tree.makeOpaque(PackTree.root) }
    }

    /// Gives a directory what the nearest layer says of it, unless that has it only as part of a path.
    private mutating func describe(_ node: UInt32, as inode: ErofsInode, _ layer: inout Layer) throws(ErofsProblem) {
        guard !layer.implied.contains(inode.number) else { return }
        let index = tree.inode(of: node)
        tree.inodes[index] = try described(inode, &layer)
        tree.inodes[index].content = node
        tree.directories[node].flags.remove(.implied)
    }

    // MARK: inodes

    /// The merged inode of one that is no directory: its names in one layer stay names of one file.
    private mutating func index(of inode: ErofsInode, _ layer: inout Layer) throws(ErofsProblem) -> UInt32 {
        if let known = layer.links[inode.number] { return known }
        let index = tree.inodes.append(try described(inode, &layer))
        if inode.linkCount > 1 { layer.links[inode.number] = index }
        return index
    }

    private mutating func described(_ inode: ErofsInode, _ layer: inout Layer) throws(ErofsProblem) -> PackInode {
        var result = PackInode()
        result.mode = inode.mode
        (result.uid, result.gid) = (inode.uid, inode.gid)
        (result.seconds, result.nanoseconds) = (inode.seconds, inode.nanoseconds)
        switch inode.kind {
        case .regular:
            result.size = inode.size
            (result.device, result.content) = try contents(inode, layer)
        case .symbolicLink:
            result.size = inode.size
            let target = layer.reader.image.extracting(try layer.reader.target(inode))
            guard let place = tree.arena.append(target) else { throw .truncated }
            result.content = place
        case .characterDevice, .blockDevice: result.content = inode.value
        default: break
        }
        result.attributes = try attributes(inode, layer)
        return result
    }

    /// The place of a file's contents, which are one run.
    private func contents(_ inode: ErofsInode, _ layer: borrowing Layer) throws(ErofsProblem) -> (UInt16, UInt32) {
        let (count, byteCount) = try layer.reader.chunks(inode)
        guard count > 0 else { return (0, 0) }
        guard count == ErofsFormat.chunkCount(inode.size),
            byteCount == 1 << Int64(ErofsFormat.chunkBits(inode.size) + ErofsFormat.blockBits)
        else { throw .badChunks }
        let first = try layer.reader.chunk(inode, 0)
        for index in 1..<max(count, 1) {
            let next = try layer.reader.chunk(inode, index)
            guard case .bytes(let device, let offset) = first else {
                guard next == .hole else { throw .badChunks }
                continue
            }
            guard next == .bytes(device: device, offset: offset + Int64(index) * byteCount) else { throw .badChunks }
        }
        guard case .bytes(let device, let offset) = first else { return (0, ErofsFormat.hole) }
        guard let merged = UInt16(exactly: layer.firstDevice + device) else { throw .badDeviceTable }
        return (merged, UInt32(truncatingIfNeeded: offset >> Int64(ErofsFormat.blockBits)))
    }

    /// The attributes that are no marks of overlayfs: those are made anew.
    private mutating func attributes(_ inode: ErofsInode, _ layer: borrowing Layer) throws(ErofsProblem) -> UInt32 {
        guard !inode.attributes.isEmpty else { return 0 }
        var set = AttributeSet()
        var position = 0
        while let attribute = try layer.reader.nextAttribute(inode, &position) {
            let name = layer.reader.image.extracting(attribute.name)
            if attribute.index == markPrefix, bytes(name, startWith: "overlay.") { continue }
            set.insert(attribute.index, name, layer.reader.image.extracting(attribute.value))
        }
        guard !set.isEmpty else { return 0 }
        guard let encoded = set.encoded() else { throw .badAttributes }
        do throws(PackFull) { return try tree.keepAttributes(encoded) } catch { throw .truncated }
    }

    private var markPrefix: UInt8 { options.userAttributes ? AttributeNames.user : AttributeNames.trusted }

    private func isOpaque(_ inode: ErofsInode, _ layer: borrowing Layer) throws(ErofsProblem) -> Bool {
        var position = 0
        while let attribute = try layer.reader.nextAttribute(inode, &position) {
            guard attribute.index == markPrefix,
                bytes(layer.reader.image.extracting(attribute.name), equal: "overlay.opaque")
            else { continue }
            return bytes(layer.reader.image.extracting(attribute.value), equal: "y")
        }
        return false
    }

    private mutating func name(_ bytes: RawSpan, in node: UInt32) throws(ErofsProblem) -> UInt32 {
        // Tables have room for all that an image can hold, but not for all that many together do.
        do throws(PackFull) { return try tree.name(bytes, in: node) } catch { throw .truncated }
    }

    /// Decides all places of the merged index.
    package consuming func finish() throws(LayerError) -> PackedLayer {
        let (report, options, count) = (report, options, devices.count)
        return try PackedLayer(tree, report, options, devices: count)
    }
}
