import LayerModel
import LinuxIO

/// Writes deletions and opaque marks into an upper directory in its dialect's forms.
///
/// Device whiteouts of one layer share an inode, as the kernel's own do (layer-archive.md A35).
struct WhiteoutWriter: ~Copyable {
    private let dialect: WhiteoutDialect
    /// Another name of the last device made, and the owner it has.
    private var shared: (directory: DirectoryHandle, name: NameRef, uid: UInt32, gid: UInt32)?

    init(_ dialect: WhiteoutDialect) { self.dialect = dialect }

    /// The name under which the deletion of `name` lies on disk, NUL-terminated.
    private func markerName(_ name: RawSpan) -> [UInt8] {
        let prefix = dialect.deletion.contains(.prefixedFile) ? WhiteoutName.prefix.description.utf8Bytes : []
        return prefix + name.copied() + [0]
    }

    /// Writes the deletion of a name that is free in `directory`.
    mutating func writeDeletion(
        _ name: NameRef, in directory: DirectoryHandle, _ arena: NameArena, uid: UInt32, gid: UInt32
    ) throws(SystemCallError) {
        guard dialect.deletion.contains(.device) else {
            let marker = markerName(arena[name])
            let pointer = NamePointer(terminated: marker.rawBytes)
            let file: OwnedDescriptor
            do throws(SystemCallError) {
                file = try directory.descriptor.open(
                    pointer, [.create, .exclusive, .noFollow, .writeOnly], mode: 0o600)
            } catch {
                // EEXIST: an earlier layer of this directory had deleted the name, too.
                guard error.errno == 17 else { throw error }
                return
            }
            try file.setOwner(uid: uid, gid: gid)
            return
        }
        if let shared, shared.uid == uid, shared.gid == gid {
            do throws(SystemCallError) {
                try directory.descriptor.makeHardLink(
                    arena.pointer(name), to: arena.pointer(shared.name), in: shared.directory.descriptor)
                return
            } catch {
                // EMLINK: this inode is full; ENOENT: its name was replaced; EXDEV, EPERM: not here.
                guard [31, 2, 18, 1].contains(error.errno) else { throw error }
            }
        }
        try directory.descriptor.makeNode(arena.pointer(name), mode: 0o020000, major: 0, minor: 0)
        try directory.descriptor.setOwner(arena.pointer(name), uid: uid, gid: gid)
        shared = (directory, name, uid, gid)
    }

    /// Takes a deletion back.
    func removeDeletion(_ name: RawSpan, in directory: DirectoryHandle) throws(SystemCallError) {
        let marker = markerName(name)
        do throws(SystemCallError) {
            try directory.descriptor.unlink(NamePointer(terminated: marker.rawBytes))
        } catch {
            guard error.errno == 2 else { throw error }
        }
        guard dialect.deletion == .prefixedFile, dialect.recognises.contains(.device) else { return }
        // Deleted through the mount, where a device could be made.
        let terminated = name.copied() + [0]
        let place = NamePointer(terminated: terminated.rawBytes)
        if let metadata = try directory.descriptor.metadataIfPresent(place), metadata.isWhiteoutDevice {
            try directory.descriptor.unlink(place)
        }
    }

    /// Whether a `.wh.` file deletes a name that is not there itself.
    func isDeleted(_ name: RawSpan, in directory: DirectoryHandle) throws(SystemCallError) -> Bool {
        guard dialect.recognises.contains(.prefixedFile), name.byteCount <= 251 else { return false }
        let marker = WhiteoutName.prefix.description.utf8Bytes + name.copied() + [0]
        return try directory.descriptor.metadataIfPresent(NamePointer(terminated: marker.rawBytes)) != nil
    }

    /// Marks an open directory opaque.
    func markOpaque(_ directory: borrowing OwnedDescriptor) throws(SystemCallError) {
        let value: [UInt8] = [UInt8(ascii: "y")]
        switch dialect.opaque {
        case .trustedOpaque: try directory.setAttribute(NamePointer("trusted.overlay.opaque"), value.rawBytes)
        case .userOpaque: try directory.setAttribute(NamePointer("user.overlay.opaque"), value.rawBytes)
        case .fuseOpaque: try directory.setAttribute(NamePointer("user.fuseoverlayfs.opaque"), value.rawBytes)
        default:
            let name = NamePointer(WhiteoutName.opaqueMarker)
            if try directory.metadataIfPresent(name) != nil { return }
            _ = try directory.open(name, [.create, .exclusive, .noFollow, .writeOnly], mode: 0o600)
        }
    }
}
