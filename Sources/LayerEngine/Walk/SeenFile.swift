import LayerModel
import LinuxIO

/// A file as a walk saw it: which one it is, and what its header will say.
struct SeenFile: BitwiseCopyable {
    let identity: FileIdentity
    let size: Int64
    let mode: UInt32
    let uid: UInt32
    let gid: UInt32
    let linkCount: UInt32
    let mtimeSeconds: Int64
    let mtimeNanoseconds: UInt32

    init(_ metadata: EntryMetadata) {
        identity = FileIdentity(metadata)
        size = metadata.size
        mode = metadata.mode
        uid = metadata.uid
        gid = metadata.gid
        linkCount = metadata.linkCount
        mtimeSeconds = metadata.mtimeSeconds
        mtimeNanoseconds = metadata.mtimeNanoseconds
    }

    init(_ entry: EntryRecord) {
        identity = FileIdentity(device: entry.device, inode: entry.inode)
        size = entry.size
        mode = entry.mode
        uid = entry.uid
        gid = entry.gid
        linkCount = entry.linkCount
        mtimeSeconds = entry.mtimeSeconds
        mtimeNanoseconds = entry.mtimeNanoseconds
    }

    /// Opens the file under its name for reading, if it is still the one that was seen.
    ///
    /// File systems in user space may number an inode anew. A file that says the same of itself in all that a header
    /// holds, and has no other name, is as good: header and contents belong together.
    func open(_ name: borrowing NamePointer, in directory: borrowing OwnedDescriptor)
        throws(SystemCallError) -> RegularFile
    {
        switch try directory.openRegular(name, expecting: identity) {
        case .same(let file, let metadata): return .same(file, metadata)
        case .vanished: return .vanished
        case .changed: break
        }
        guard let now = try directory.metadataIfPresent(name) else { return .vanished }
        guard now.kind == .regular, linkCount == 1, now.linkCount == 1, now.size == size, now.mode == mode,
            now.uid == uid, now.gid == gid, now.mtimeSeconds == mtimeSeconds, now.mtimeNanoseconds == mtimeNanoseconds
        else { return .changed }
        return try directory.openRegular(name, expecting: FileIdentity(now))
    }
}
