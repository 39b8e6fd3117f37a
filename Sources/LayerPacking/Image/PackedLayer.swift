package import LayerModel

/// A tar or another file that holds contents.
package struct PackDevice: Sendable, Equatable {
    /// What tells it from others: the 64 hexadecimal digits of its SHA-256, or nothing.
    package var tag: [UInt8]
    package var byteCount: Int64

    package init(tag: [UInt8], byteCount: Int64) {
        self.tag = tag
        self.byteCount = byteCount
    }
}

/// A layer's tree with all places decided; the image of it is made from here.
package struct PackedLayer: ~Copyable {
    package let report: PackReport
    /// Contents lie in so many files: the tar, and one more for what is no run of it.
    package let deviceCount: Int
    let tree: PackTree
    let layout: PackLayout

    init(_ tree: consuming PackTree, _ report: PackReport, _ options: PackOptions, devices: Int) throws(LayerError) {
        var report = report
        var tree = tree
        tree.endLookups()
        deviceCount = devices
        do throws(PackFull) {
            try tree.addMarks(userAttributes: options.userAttributes)
            layout = try PackLayout(&tree, firstInode: ErofsFormat.firstInode(devices: deviceCount))
        } catch {
            throw LayerError.unfit("it has more than an index can hold", offset: report.streamBytes)
        }
        report.presentEntries = layout.nameCount
        report.uniqueFileBytes = layout.fileBytes
        for position in 0..<layout.directories.count {
            let node = layout.directories[UInt32(position)]
            if tree.directories[node].flags.contains(.implied) {
                report.impliedDirectories.append(UInt64(tree.inodes[tree.inode(of: node)].number))
            }
        }
        self.tree = tree
        self.report = report
    }

    /// The bytes of the image.
    package var imageByteCount: Int { layout.blocks * ErofsFormat.blockSize }

    /// Writes the image. `devices` says what holds the contents, `uuid` has 16 bytes.
    package func writeImage<Sink: ByteSink & ~Copyable>(
        _ devices: [PackDevice], uuid: [UInt8], to sink: inout Sink
    ) throws(LayerError) {
        precondition(devices.count == deviceCount, "the layer's contents lie in \(deviceCount) files")
        try tree.writeImage(layout, devices, uuid, to: &sink)
    }
}

extension PackTree {
    func writeImage<Sink: ByteSink & ~Copyable>(
        _ layout: PackLayout, _ devices: [PackDevice], _ uuid: [UInt8], to sink: inout Sink
    ) throws(LayerError) {
        var writer = ImageWriter(layout, devices, uuid)
        while writer.fill(self) { try sink.write(writer.piece.bytes.rawBytes) }
        precondition(
            writer.written == layout.blocks * ErofsFormat.blockSize, "the image is not as long as it was planned")
    }

    /// Adds what overlayfs is told by attributes: that a directory is opaque, and that one holds whiteouts, which would
    /// otherwise be listed where no other layer has the directory.
    mutating func addMarks(userAttributes: Bool) throws(PackFull) {
        for index in 1..<UInt32(max(names.count, 1)) where names[index].flags.contains(.whiteout) {
            directories[names[index].parent].flags.insert(.hasWhiteouts)
        }
        let prefix = userAttributes ? AttributeNames.user : AttributeNames.trusted
        let opaque = Array("overlay.opaque".utf8)
        let origin = Array("overlay.origin".utf8)
        for node in 0..<UInt32(directories.count) {
            let flags = directories[node].flags
            // The root of a layer is merged in any case.
            let hasOrigin = flags.contains(.hasWhiteouts) && node != Self.root
            guard flags.contains(.opaque) || hasOrigin else { continue }
            // Something else may have its name by now.
            guard directory(directories[node].name) == node else { continue }
            let inode = inode(of: node)
            var set = AttributeSet()
            set.take(attributeBytes(inodes[inode].attributes))
            if flags.contains(.opaque) { set.insert(prefix, opaque.rawBytes, [UInt8(ascii: "y")].rawBytes) }
            if hasOrigin { set.insert(prefix, origin.rawBytes, RawSpan()) }
            guard let bytes = set.encoded() else { throw PackFull() }
            inodes[inode].attributes = try keepAttributes(bytes)
        }
    }
}

extension AttributeSet {
    /// Takes attributes as they lie in an image.
    mutating func take(_ image: RawSpan) {
        var position = 0
        while position < image.byteCount, let entry = AttributeEntry.next(image, &position) {
            insert(
                entry.index, image.extracting(entry.name..<entry.name + entry.nameCount),
                image.extracting(entry.value..<entry.value + entry.valueCount))
        }
    }
}
