import LayerModel
import LayerRules
import LinuxIO

/// What must be copied up from the directories below, so that the merged view does not change by it.
extension UpperTarget {
    func stepThroughLower(_ place: NamePlace) throws(LayerError) -> PathStep {
        if let notes {
            try note(place, in: notes)
            return .missing
        }
        guard let found = try lowerEntry(place) else { return .missing }
        switch found.metadata.kind {
        case .symbolicLink:
            tree.follow(place)
            return .link(try entries.linkTarget(found.name, in: found.directory))
        case .directory: return .directory(try copyUpDirectory(found, to: place))
        default: return .other
        }
    }

    /// Makes a directory that a lower one shows, with its owner, mode, attributes and times.
    private func copyUpDirectory(_ found: LowerEntry, to place: NamePlace) throws(LayerError) -> UInt32 {
        try entries.inspect(place.node)
        try entries.makeDirectory(place, mode: found.metadata.mode & 0o777)
        let child = try tree.makeNode(place, flags: .fresh)
        try dress(child, as: found, isNew: true)
        return child
    }

    /// Gives a directory what the one of a lower layer has.
    func dress(_ child: UInt32, as found: LowerEntry, isNew: Bool) throws(LayerError) {
        let metadata = found.metadata
        let owner = Owner(uid: metadata.uid, gid: metadata.gid)
        try entries.setDirectoryMetadata(
            child, DirectoryMetadata(mode: metadata.mode & 0o7777, owner: owner, isNew: isNew))
        let mode = try entries.copyAttributes(of: found.source, to: tree.place(ofDirectory: child))
        if metadata.mode & 0o2000 != 0 || owner.gid != entries.effective.gid { tree.mark(child, .givesGroup) }
        try entries.limitDirectoryMode(child, to: mode)
        tree.setTimesAtEnd(child, found.source.times)
    }

    func copyUpLinkTarget(_ place: NamePlace) throws(LayerError) -> Bool {
        guard tree.flags(place).isDisjoint(with: [.whiteout, .deferred]), let found = try lowerEntry(place) else {
            return false
        }
        let metadata = found.metadata
        guard metadata.kind != .directory else {
            throw log.refusal(.linkToDirectory)
        }
        try entries.inspect(place.node)
        if metadata.kind == .regular {
            log.report.io.creates += 1
            try copyUpFile(found, to: place)
        } else {
            try entries.copyNode(found.source, to: place)
        }
        // Not unpacked: it is still the lower layer's, and a whiteout of it counts.
        tree.put(metadata.kind, at: place, .made)
        log.report.uniqueFileBytes &+= UInt64(max(metadata.size, 0))
        try entries.copyMetadata(of: found.source, to: place)
        return true
    }

    /// Copies up a file's bytes, from behind it where it holds only metadata.
    private func copyUpFile(_ found: LowerEntry, to place: NamePlace) throws(LayerError) {
        guard let lowers else { return }
        let arena = tree.arena
        let data = try attempt { () throws(SystemCallError) in try lowers.data(of: found, arena) }
        guard let (terminated, source) = data.map({ ($0.name, $0.place) }) else {
            throw LayerError(
                .corruptLayer, "apply",
                cause: .reason("a lower layer has the file's metadata, but none of them its data"))
        }
        let name = try arena.append(terminated.rawBytes.extracting(0..<terminated.count - 1))
        let metadata = try attempt { () throws(SystemCallError) in
            try source.handle.descriptor.metadata(arena.pointer(name))
        }
        // The attributes are those of the metadata, which may lie elsewhere.
        try entries.copyFile(
            CopySource(name: name, directory: source.handle, metadata: metadata), to: place, withAttributes: false)
    }
}

extension LowerEntry {
    fileprivate var source: CopySource { CopySource(name: name, directory: directory, metadata: metadata) }
}
