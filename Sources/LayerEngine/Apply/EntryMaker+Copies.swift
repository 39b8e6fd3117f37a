import Glibc
import LayerModel
import LayerRules
import LinuxIO

/// A file to be copied: a name in a directory of the target, or of a lower layer.
struct CopySource {
    let name: NameRef
    let directory: SharedDescriptor
    /// What lay under the name when it was looked at.
    let metadata: EntryMetadata

    /// The time that a copy of it has in the merged view.
    var times: FileTimes {
        let time = TimeStamp(seconds: metadata.mtimeSeconds, nanoseconds: metadata.mtimeNanoseconds)
        return FileTimes(access: time, modification: time)
    }
}

/// A copy of a file, and which file it is. The handle finds it whatever becomes of its entries.
struct FileCopy {
    let handle: SharedDescriptor
    let identity: FileIdentity
}

/// Copies of files within the target, and from lower directories into it.
extension EntryMaker {
    /// Copies a regular file to a new name: bytes with their holes, owner, mode and times, and its attributes unless they are
    /// somebody else's. Returns the copy without its contents, to be linked.
    @discardableResult
    func copyFile(_ source: CopySource, to place: NamePlace, withAttributes: Bool = true) throws(LayerError) -> FileCopy
    {
        let arena = tree.arena
        let handle = try handle(place.node)
        let opened = try attempt { () throws(SystemCallError) in
            try source.directory.descriptor.openRegular(
                arena.pointer(source.name), expecting: FileIdentity(source.metadata))
        }
        let input: OwnedDescriptor
        let metadata: EntryMetadata
        switch consume opened {
        case .same(let file, let now):
            input = file
            metadata = now
        default:
            throw LayerError(
                .fileChanged, "apply",
                cause: .reason(
                    "the file \(PathBytes(arena[source.name].copied())) was replaced while it was to be copied"))
        }
        let output = try attempt { () throws(SystemCallError) in
            try handle.descriptor.open(
                arena.pointer(place.name), [.create, .exclusive, .noFollow, .writeOnly], mode: 0o600)
        }
        do throws(LayerError) {
            let inherits = tree.flags(ofDirectory: place.node).contains(.givesAccessLists)
            try fill(output, from: input, metadata, inherits: inherits)
            let mode =
                withAttributes ? try copyAttributes(of: input, to: output, mode: metadata.mode) : metadata.mode
            try attempt { () throws(SystemCallError) in
                try output.setMode(mode & 0o7777)
                try output.setTimes(access: metadata.accessTime, modification: metadata.modificationTime)
            }
            let copy = try attempt { () throws(SystemCallError) in
                SharedDescriptor(try handle.descriptor.open(arena.pointer(place.name), [.pathOnly, .noFollow]))
            }
            let made = try attempt { () throws(SystemCallError) in try output.metadata() }
            let linked = try attempt { () throws(SystemCallError) in try copy.descriptor.metadata() }
            guard FileIdentity(made) == FileIdentity(linked) else {
                throw LayerError(.fileChanged, "apply", cause: .reason("another process replaced the file"))
            }
            return FileCopy(handle: copy, identity: FileIdentity(made))
        } catch {
            try? handle.descriptor.unlink(arena.pointer(place.name))
            throw error
        }
    }

    /// Copies a symbolic link or a node to a new name, without its owner, mode, times and attributes.
    func copyNode(_ source: CopySource, to place: NamePlace) throws(LayerError) {
        let metadata = source.metadata
        if metadata.kind == .symbolicLink {
            let target = try linkTarget(source.name, in: source.directory)
            return try makeSymbolicLink(place, to: target.rawBytes)
        }
        let handle = try handle(place.node)
        try attempt { () throws(SystemCallError) in
            try makeNode(
                place, metadata.kind, major: metadata.deviceMajor, minor: metadata.deviceMinor, in: handle)
        }
        try dropInheritedAccessLists(place)
    }

    /// Gives a copy the owner, mode, attributes and time of its source.
    func copyMetadata(of source: CopySource, to place: NamePlace) throws(LayerError) {
        let metadata = source.metadata
        try setOwner(Owner(uid: metadata.uid, gid: metadata.gid), of: place)
        let mode = try copyAttributes(of: source, to: place)
        if metadata.kind != .symbolicLink { try setMode(mode, of: place) }
        try setTimes(source.times, of: place)
    }

    private func fill(
        _ output: borrowing OwnedDescriptor, from input: borrowing OwnedDescriptor, _ metadata: EntryMetadata,
        inherits: Bool
    ) throws(LayerError) {
        var copier = FileCopier(sparse: options.sparse, cancel: options.cancel)
        let outcome = try copier.copy(input, metadata, to: output)
        guard outcome.size == metadata.size else {
            throw LayerError(.fileChanged, "apply", cause: .reason("a file became shorter while it was copied"))
        }
        log.report.io.bytesWritten += UInt64(outcome.movedBytes)
        try attempt { () throws(SystemCallError) in
            try output.setOwner(uid: metadata.uid, gid: metadata.gid)
            if inherits { try output.removeAttribute(NamePointer("system.posix_acl_access")) }
        }
    }

    /// Returns what is left of the mode that the copy is to have with the attributes.
    private func copyAttributes(
        of input: borrowing OwnedDescriptor, to output: borrowing OwnedDescriptor, mode: UInt32
    ) throws(LayerError) -> UInt32 {
        var mode = mode
        do throws(SystemCallError) {
            let total = try reader.list(of: input)
            var position = 0
            while position < total {
                let start = position
                let attribute = reader.name(at: position).copied()
                position += attribute.count + 1
                guard policy.rules.verdict(attribute.rawBytes) == .set,
                    try reader.readValue(at: start, of: input) != nil
                else { continue }
                let terminated = attribute + [0]
                let value = reader.lastValueBytes
                do throws(SystemCallError) {
                    try output.setAttribute(NamePointer(terminated: terminated.rawBytes), value.rawBytes)
                } catch {
                    guard Self.hasNoPlace(error) else { throw error }
                    mode = policy.mode(mode, without: attribute.rawBytes, value.rawBytes)
                }
            }
        } catch {
            throw LayerError(error, "apply", path: nil)
        }
        return mode
    }

    /// Copies the attributes that belong to what lies under a name of a lower layer, rather than to overlayfs or the host.
    /// Returns what is left of its mode with those that could be set.
    func copyAttributes(of source: CopySource, to place: NamePlace) throws(LayerError) -> UInt32 {
        var mode = source.metadata.mode & 0o7777
        let arena = tree.arena
        let handle = try handle(place.node)
        let directory = source.directory
        do throws(SystemCallError) {
            let total = try reader.list(of: arena.pointer(source.name), in: directory.descriptor)
            var position = 0
            while position < total {
                let attribute = reader.name(at: position).copied()
                let start = position
                position += attribute.count + 1
                guard policy.rules.verdict(attribute.rawBytes) == .set,
                    try reader.readValue(at: start, of: arena.pointer(source.name), in: directory.descriptor) != nil
                else { continue }
                let value = reader.lastValueBytes
                let terminated = attribute + [0]
                do throws(SystemCallError) {
                    try handle.descriptor.setAttribute(
                        NamePointer(terminated: terminated.rawBytes), value.rawBytes, of: arena.pointer(place.name))
                } catch {
                    guard Self.hasNoPlace(error) else { throw error }
                    mode = policy.mode(mode, without: attribute.rawBytes, value.rawBytes)
                }
                if bytes(attribute.rawBytes, equal: "system.posix_acl_default"), let child = tree.directory(place) {
                    tree.mark(child, .givesAccessLists)
                }
            }
        } catch {
            throw LayerError(error, "apply", path: nil)
        }
        return mode
    }

    /// Whether the target's file system has no place for an attribute of the source: ENOTSUP, ENODATA, EEXIST.
    private static func hasNoPlace(_ error: SystemCallError) -> Bool {
        [EOPNOTSUPP, ENODATA, EEXIST].contains(error.errno)
    }
}

extension AttributeReader {
    /// A copy of the value read last.
    var lastValueBytes: [UInt8] { lastValue.copied() }
}
