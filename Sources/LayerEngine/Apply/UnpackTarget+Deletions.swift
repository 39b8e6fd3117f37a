import LayerModel
import LinuxIO
import TarCodec

/// Whiteouts and opaque markers: what is deleted of the layers below.
extension UnpackTarget {
    /// A deletion. It concerns the layers below only: what this layer has put there stays; of a directory, what this layer
    /// has put inside.
    func delete(_ place: NamePlace, _ source: MarkSource) throws(LayerError) {
        try entries.inspect(place.node)
        // Nothing can have the name of a mark.
        if isMark(place.name) { return }
        let kind = try kind(of: place)
        let flags = tree.flags(place)
        if flags.contains(.deferred) { return }
        if flags.contains(.unpacked), kind != .unknown {
            guard kind == .directory, let child = tree.directory(place) else { return }
            try keepOnlyUnpacked(child)
            return try makeOpaque(child)
        }
        try refuseLongDeletion(place)
        if kind != .unknown { try entries.refuseMounted(place.node) }
        switch kind {
        case .unknown: break
        case .directory: try entries.removeDirectory(place)
        default: try clear(place)
        }
        try writeDeletion(place, source)
    }

    /// An opaque marker in a directory: everything below it that this layer has not unpacked goes.
    func hideLower(_ node: UInt32, asSaidBy fields: TarFields) throws(LayerError) {
        try entries.inspect(node)
        if node != ApplyTree.rootNode { tree.markUnpacked(node) }
        try keepOnlyUnpacked(node)
        try makeOpaque(node, asSaidBy: fields)
    }

    /// Removes what lies below a directory and did not come with this layer; kept directories are gone through.
    private func keepOnlyUnpacked(_ node: UInt32) throws(LayerError) {
        try files.drain()
        var waiting = [node]
        var listing = DirectoryReader()
        while let directory = waiting.popLast() {
            try options.cancel.check()
            try entries.inspect(directory)
            let found = try namesToRemove(directory, &listing, keeping: &waiting)
            if !found.isEmpty { try entries.refuseMounted(directory) }
            var position = 0
            while position < found.count {
                var end = position
                while found[end] != 0 { end += 1 }
                try remove(tree.place(of: found.rawBytes.extracting(position..<end), in: directory))
                position = end + 1
            }
        }
    }

    /// Removes a name that lies on disk, whatever it is and whether anything was known of it.
    private func remove(_ place: NamePlace) throws(LayerError) {
        guard let found = try entries.metadata(place), try !removeEarlierMark(place, found) else { return }
        tree.look(at: place, found: found.kind, isDeleted: false)
        if found.kind == .directory {
            try entries.removeDirectory(place)
        } else {
            try clear(place)
        }
    }

    /// The names in a directory that did not come with this layer, NUL-terminated; its directories that did are added to
    /// `kept`.
    private func namesToRemove(_ node: UInt32, _ listing: inout DirectoryReader, keeping kept: inout [UInt32])
        throws(LayerError) -> [UInt8]
    {
        var found: [UInt8] = []
        let handle = try entries.handle(node)
        do throws(SystemCallError) {
            let directory = try handle.descriptor.open(NamePointer("."), [.readOnly, .directory])
            listing.restart()
            while let entry = try listing.next(of: directory) {
                let name = listing.name(of: entry)
                if let place = tree.knownPlace(of: name, in: node) {
                    let flags = tree.flags(place)
                    if flags.contains(.isPrivate) { continue }
                    if flags.contains(.unpacked) {
                        if tree.kind(place) == .directory, let child = tree.directory(place) { kept.append(child) }
                        continue
                    }
                }
                if outlivesOpaque(name) { continue }
                for index in 0..<name.byteCount { found.append(name[index]) }
                found.append(0)
            }
        } catch {
            throw LayerError(error, "apply", path: nil)
        }
        return found
    }
}
