import LayerModel
import LinuxIO

/// Copies of files within the target, and from lower directories into it.
extension ApplyJob {
    /// Copies that are kept open for further names; an inode that is full has been given 65,000 of them.
    private static var keptCopies: Int { 64 }

    /// Gives `name` the contents of a file that cannot have it as one more of its names: as a name of the newest copy, if
    /// the file is only full (`isFull`) and was copied before, else of a new one.
    func connectCopy(
        _ name: NameRef, in node: UInt32, of source: NameRef, in sourceHandle: DirectoryHandle, isFull: Bool
    ) throws(LayerError) {
        let arena = tree.arena
        let handle = try handle(node)
        report.io.stats += 1
        let original = try attempt { () throws(SystemCallError) in
            try sourceHandle.descriptor.metadata(arena.pointer(source))
        }
        let first = FileIdentity(original)
        var full = first
        while isFull, let copy = copies[full] {
            do throws(SystemCallError) {
                try handle.descriptor.makeName(arena.pointer(name), for: copy.handle.descriptor)
                copies[first] = copy
                return
            } catch {
                // ENOENT: all its names are gone, or there is no /proc.
                guard error.errno == 31 || error.errno == 2 else { throw LayerError(error, "apply", path: nil) }
                full = copy.identity
                if error.errno == 2 { break }
            }
        }
        let copy = try copyFile(source, original, in: sourceHandle, to: name, in: node)
        report.uniqueFileBytes &+= UInt64(max(original.size, 0))
        guard isFull else { return }
        if copies.count >= Self.keptCopies { copies.removeAll() }
        copies[first] = copy
        copies[full] = copy
    }

    /// Copies a regular file that was looked at before to a new name: bytes with their holes, owner, attributes, mode and
    /// times. Returns the copy without its contents, to be linked.
    @discardableResult
    func copyFile(
        _ source: NameRef, _ expected: EntryMetadata, in sourceHandle: DirectoryHandle, to name: NameRef,
        in node: UInt32, withAttributes: Bool = true
    ) throws(LayerError) -> FileCopy {
        let arena = tree.arena
        let handle = try handle(node)
        let opened = try attempt { () throws(SystemCallError) in
            try sourceHandle.descriptor.openRegular(arena.pointer(source), expecting: FileIdentity(expected))
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
                cause: .reason("the file \(PathBytes(arena[source].copied())) was replaced while it was to be copied"))
        }
        let output = try attempt { () throws(SystemCallError) in
            try handle.descriptor.open(
                arena.pointer(name), [.create, .exclusive, .noFollow, .writeOnly], mode: 0o600)
        }
        do throws(LayerError) {
            try fill(output, from: input, metadata, inherits: tree.nodes[Int(node)].flags.contains(.givesAccessLists))
            let mode =
                withAttributes ? try copyAttributes(of: input, to: output, mode: metadata.mode) : metadata.mode
            try attempt { () throws(SystemCallError) in
                try output.setMode(mode & 0o7777)
                try output.setTimes(access: metadata.accessTime, modification: metadata.modificationTime)
            }
            let handle = try attempt { () throws(SystemCallError) in
                DirectoryHandle(try handle.descriptor.open(arena.pointer(name), [.pathOnly, .noFollow]))
            }
            let made = try attempt { () throws(SystemCallError) in try output.metadata() }
            let linked = try attempt { () throws(SystemCallError) in try handle.descriptor.metadata() }
            guard FileIdentity(made) == FileIdentity(linked) else {
                throw LayerError(.fileChanged, "apply", cause: .reason("another process replaced the file"))
            }
            return FileCopy(handle: handle, identity: FileIdentity(made))
        } catch {
            try? handle.descriptor.unlink(arena.pointer(name))
            throw error
        }
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
        report.io.bytesWritten += UInt64(outcome.movedBytes)
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
                guard policy.verdict(attribute.rawBytes) == .set, try reader.readValue(at: start, of: input) != nil
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

    /// Whether the upper's file system has no place for an attribute of a lower file: ENOTSUP, ENODATA, EEXIST (A18).
    static func hasNoPlace(_ error: SystemCallError) -> Bool { [95, 61, 17].contains(error.errno) }
}

/// A copy of a file whose inode is full, and which file it is. The handle finds it whatever becomes of its names.
struct FileCopy {
    let handle: DirectoryHandle
    let identity: FileIdentity
}

extension AttributeReader {
    /// A copy of the value read last.
    var lastValueBytes: [UInt8] { lastValue.copied() }
}
