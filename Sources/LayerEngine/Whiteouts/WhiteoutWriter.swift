import Glibc
import LayerModel
import LinuxIO

/// What a mark on disk takes over from its entry in the archive, so that the layer it becomes part of has the same bytes again.
struct MarkMetadata: Equatable {
    let uid: UInt32
    let gid: UInt32
    /// Of marks that are files.
    var mode: UInt32 = 0o600
    /// Nil for the time of now: no entry says one.
    var modification: TimeStamp?
}

/// Writes deletions and opaque marks into an upper directory in its dialect's forms.
///
/// Device whiteouts of one layer share an inode, as the kernel's own do. Its names may be
/// filled again by the layer, and by other processes with anything, so that it is linked by its descriptor.
struct WhiteoutWriter: ~Copyable {
    private let dialect: WhiteoutDialect
    /// The last device made.
    private var shared: Device?

    private struct Device: ~Copyable {
        let node: OwnedDescriptor
        let metadata: MarkMetadata
    }

    init(_ dialect: WhiteoutDialect) { self.dialect = dialect }

    /// The name under which the deletion of `name` lies on disk, NUL-terminated.
    private func markerName(_ name: RawSpan) -> [UInt8] {
        let prefix = dialect.deletion.contains(.prefixedFile) ? WhiteoutName.prefix.description.utf8Bytes : []
        return prefix + name.copied() + [0]
    }

    /// Whether the dialect has a form for the deletion of a name.
    func canDelete(_ name: RawSpan) -> Bool { !isTooLong(name) || dialect.recognises.contains(.device) }

    /// Whether no file beside a name can delete it: it would have a longer name, and none has more than 255 bytes.
    private func isTooLong(_ name: RawSpan) -> Bool {
        name.byteCount > Self.longestName - WhiteoutName.prefix.utf8CodeUnitCount
    }

    /// Whether the deletion of a name is a device, and not a file beside it.
    private func usesDevice(_ name: RawSpan) -> Bool {
        dialect.deletion.contains(.device) || isTooLong(name) && dialect.recognises.contains(.device)
    }

    /// NAME_MAX of every Linux file system that matters here.
    private static let longestName = 255

    /// Writes the deletion of a name that is free in `directory`; `canDelete` said that there is a form for it. `handsDown`:
    /// the directory gives an access list to what is made in it, which no mark keeps.
    mutating func writeDeletion(
        _ name: NameRef, in directory: SharedDescriptor, _ arena: NameArena, _ metadata: MarkMetadata, handsDown: Bool
    ) throws(SystemCallError) {
        guard usesDevice(arena[name]) else {
            let marker = markerName(arena[name])
            let pointer = NamePointer(terminated: marker.rawBytes)
            let file: OwnedDescriptor
            do throws(SystemCallError) {
                file = try directory.descriptor.open(
                    pointer, [.create, .exclusive, .noFollow, .writeOnly], mode: 0o600)
            } catch {
                // EEXIST: an earlier layer of this directory had deleted the name, too.
                guard error.errno == EEXIST else { throw error }
                return
            }
            if handsDown { try file.removeAttribute(NamePointer("system.posix_acl_access")) }
            try file.setOwner(uid: metadata.uid, gid: metadata.gid)
            try file.setMode(metadata.mode)
            if let time = metadata.modification { try file.setTimes(access: time, modification: time) }
            return
        }
        if try linkShared(arena.pointer(name), in: directory, metadata) { return }
        try directory.descriptor.makeNode(arena.pointer(name), mode: 0o020000, major: 0, minor: 0)
        if handsDown {
            try directory.descriptor.removeAttribute(NamePointer("system.posix_acl_access"), of: arena.pointer(name))
        }
        try directory.descriptor.setOwner(arena.pointer(name), uid: metadata.uid, gid: metadata.gid)
        if let time = metadata.modification {
            try directory.descriptor.setTimes(arena.pointer(name), access: time, modification: time)
        }
        try share(arena.pointer(name), in: directory, metadata)
    }

    /// Gives the shared device another name; false where there is none that can have it.
    private func linkShared(
        _ name: borrowing NamePointer, in directory: SharedDescriptor, _ metadata: MarkMetadata
    ) throws(SystemCallError) -> Bool {
        switch shared {
        case .some(let device):
            guard device.metadata == metadata else { return false }
            do throws(SystemCallError) {
                try directory.descriptor.makeName(name, for: device.node)
                return true
            } catch {
                // EMLINK: this inode is full; ENOENT: all its names are gone, or there is no /proc; EXDEV, EPERM: not here.
                guard [EMLINK, ENOENT, EXDEV, EPERM].contains(error.errno) else { throw error }
                return false
            }
        case .none: return false
        }
    }

    /// Keeps the device under a name for the next deletions, if it is one: by now another process may have put something
    /// else there.
    private mutating func share(
        _ name: borrowing NamePointer, in directory: SharedDescriptor, _ metadata: MarkMetadata
    ) throws(SystemCallError) {
        let node = try directory.descriptor.open(name, [.pathOnly, .noFollow])
        let found = try node.metadata()
        let isOurs = found.isWhiteoutDevice && found.uid == metadata.uid && found.gid == metadata.gid
        shared = isOurs ? Device(node: node, metadata: metadata) : nil
    }

    /// Takes a deletion back.
    func removeDeletion(_ name: RawSpan, in directory: SharedDescriptor) throws(SystemCallError) {
        let marker = markerName(name)
        do throws(SystemCallError) {
            try directory.descriptor.unlink(NamePointer(terminated: marker.rawBytes))
        } catch {
            // ENOENT; ENAMETOOLONG: no file can delete this name.
            guard error.errno == ENOENT || error.errno == ENAMETOOLONG else { throw error }
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
    func isDeleted(_ name: RawSpan, in directory: SharedDescriptor) throws(SystemCallError) -> Bool {
        guard dialect.recognises.contains(.prefixedFile), !isTooLong(name) else { return false }
        let marker = WhiteoutName.prefix.description.utf8Bytes + name.copied() + [0]
        return try directory.descriptor.metadataIfPresent(NamePointer(terminated: marker.rawBytes)) != nil
    }

    /// Marks an open directory opaque; `handsDown` as with deletions.
    func markOpaque(_ directory: borrowing OwnedDescriptor, handsDown: Bool) throws(SystemCallError) {
        let value: [UInt8] = [UInt8(ascii: "y")]
        switch dialect.opaque {
        case .trustedOpaque: try directory.setAttribute(NamePointer("trusted.overlay.opaque"), value.rawBytes)
        case .userOpaque: try directory.setAttribute(NamePointer("user.overlay.opaque"), value.rawBytes)
        case .fuseOpaque: try directory.setAttribute(NamePointer("user.fuseoverlayfs.opaque"), value.rawBytes)
        default:
            let name = NamePointer(WhiteoutName.opaqueMarker)
            if try directory.metadataIfPresent(name) != nil { return }
            let file = try directory.open(name, [.create, .exclusive, .noFollow, .writeOnly], mode: 0o600)
            if handsDown { try file.removeAttribute(NamePointer("system.posix_acl_access")) }
            // A directory with the setgid bit gives its group to what is made in it.
            let made = try file.metadata()
            let group = ProcessState.effectiveGroup
            if made.gid != group { try file.setOwner(uid: made.uid, gid: group) }
        }
    }

    /// Gives the file that marks a directory what its entry says; nothing where there is none.
    func dressOpaque(_ directory: borrowing OwnedDescriptor, _ metadata: MarkMetadata) throws(SystemCallError) {
        let name = NamePointer(WhiteoutName.opaqueMarker)
        guard dialect.opaque == .markerFile, try directory.metadataIfPresent(name) != nil else { return }
        try directory.setOwner(name, uid: metadata.uid, gid: metadata.gid)
        try directory.setMode(name, metadata.mode)
        if let time = metadata.modification { try directory.setTimes(name, access: time, modification: time) }
    }
}
