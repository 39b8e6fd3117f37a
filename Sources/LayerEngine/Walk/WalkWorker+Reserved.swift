import LayerModel
import LinuxIO

/// Names that a layer has for purposes of its own, and what cannot be in one at all.
extension WalkWorker {
    /// Whether a name may not go into the layer, nor into a list of what one would hold: it begins with `.wh.` in a tree in
    /// which that means nothing, and where the layer is unpacked it would delete another name.
    mutating func leavesOut(_ name: NameRef, _ directory: UInt32) throws(LayerError) -> Bool {
        let names = names
        guard name.length >= 4, bytes(names[name], startWith: WhiteoutName.prefix) else { return false }
        // Where they do mean something, only those that name nothing are in the way.
        if plan.dialect.recognises.contains(.prefixedFile), WhiteoutName(names[name]) != .invalid { return false }
        return try leavesOut(
            name, directory, left: "left out, since its name means a deletion in a layer:",
            kept: "deletes another name where the layer is unpacked:",
            why: "its name begins with .wh., which means a deletion in a layer")
    }

    /// The same of a device numbered 0:0, in a tree in which that means nothing: where the layer is unpacked it would delete
    /// what has its name.
    mutating func leavesOut(_ metadata: EntryMetadata, _ name: NameRef, _ directory: UInt32) throws(LayerError) -> Bool
    {
        guard metadata.isWhiteoutDevice, !plan.dialect.recognises.contains(.device) else { return false }
        return try leavesOut(
            name, directory, left: "left out, since a device 0:0 means a deletion in a layer:",
            kept: "is a device 0:0, which deletes its name where the layer is unpacked:",
            why: "it is a device 0:0, which means a deletion in a layer")
    }

    private mutating func leavesOut(
        _ name: NameRef, _ directory: UInt32, left: String, kept: String, why: String
    ) throws(LayerError) -> Bool {
        switch plan.reservedNames {
        case .leftOut:
            tally.reservedNames += 1
            warn(left, directory, name)
            return true
        case .kept:
            tally.reservedNames += 1
            warn(kept, directory, name)
            return false
        case .refused:
            throw LayerError(
                .unsafePath, "write", path: path(directory, name), cause: .reason(why),
                hint: "rename or remove it, or leave it out with --reserved-names leave-out")
        }
    }

    /// Whether a name in an upper directory spells a deletion, or that its directory is opaque.
    func isMarker(_ name: NameRef) -> Bool {
        let names = names
        return plan.dialect.recognises.contains(.prefixedFile) && name.length >= 4
            && bytes(names[name], startWith: WhiteoutName.prefix)
    }

    /// Whether the lower directories show something else under the name of a socket, or of a device 0:0, so that leaving that
    /// out would bring it back.
    mutating func replacesLower(_ name: NameRef, in directory: UInt32) throws(LayerError) -> Bool {
        guard plan.dialect.name != .tree else { return false }
        guard !plan.lowerRoots.isEmpty else {
            warn(
                "left out; what it replaced in a lower directory, if anything, is not deleted:", directory, name)
            return false
        }
        var stack = plan.lowerRoots
        for step in chain(to: directory) {
            if try hidesLowers(step) { return false }
            stack = try childStack(of: stack, store.directories[Int(step)].name, directory)
            if stack.isEmpty { return false }
        }
        guard let found = try lookUp(name, in: stack, directory), found.metadata.kind != .socket,
            !found.metadata.isWhiteoutDevice
        else { return false }
        // A marker that lies beside it says so already.
        guard plan.dialect.recognises.contains(.prefixedFile) else { return true }
        return try !hasPrefixedWhiteout(name, in: store.directories[Int(directory)].upper, directory)
    }

    /// Whether the layer itself hides or brings all that lower directories have below an exported directory.
    private mutating func hidesLowers(_ directory: UInt32) throws(LayerError) -> Bool {
        let record = store.directories[Int(directory)]
        if !record.flags.isDisjoint(with: [.opaque, .merged]) { return true }
        guard plan.dialect.recognises.contains(.markerFile), record.upper != noIndex else { return false }
        let marker = try nameWriter.append(Array(WhiteoutName.opaqueMarker.description.utf8).rawBytes)
        return try look(atPhysical: record.upper, marker, directory) != nil
    }
}

extension EntryRecord {
    /// Makes the entry a marker: an empty file, if anything else lies on disk, since only the name counts.
    mutating func standForMarker() {
        flags.insert(.marker)
        guard kind != .regular else { return }
        mode = EntryKind.regular.modeBits | mode & 0o777
        kind = .regular
        size = 0
    }
}
