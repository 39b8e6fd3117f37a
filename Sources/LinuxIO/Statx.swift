internal import CLinux
public import LayerModel

extension OwnedDescriptor {
    /// Metadata of `name` in this directory, links not followed; see statx(2).
    public func metadata(_ name: borrowing NamePointer) throws(SystemCallError) -> EntryMetadata {
        var result = ldl_stat()
        // Reason: the name is NUL-terminated, the result is a local of the right type. 0x100 is AT_SYMLINK_NOFOLLOW.
        try check(unsafe ldl_statx(raw, name.address, 0x100, &result), "statx")
        return EntryMetadata(result)
    }

    /// As `metadata`, or nil where the name does not exist (ENOENT, and ENOTDIR of a lookup in a non-directory).
    public func metadataIfPresent(_ name: borrowing NamePointer) throws(SystemCallError) -> EntryMetadata? {
        var result = ldl_stat()
        // Reason: as above.
        let outcome = unsafe ldl_statx(raw, name.address, 0x100, &result)
        if outcome == -2 || outcome == -20 { return nil }
        try check(outcome, "statx")
        return EntryMetadata(result)
    }

    /// Metadata of this descriptor's own file.
    public func metadata() throws(SystemCallError) -> EntryMetadata {
        var result = ldl_stat()
        // Reason: the result is a local of the right type.
        try check(unsafe ldl_fstat(raw, &result), "fstat")
        return EntryMetadata(result)
    }

    /// The file system's magic number, see statfs(2).
    public func fileSystemType() throws(SystemCallError) -> Int {
        try check(ldl_filesystem_type(raw), "fstatfs")
    }
}

extension EntryMetadata {
    init(_ stat: ldl_stat) {
        self.init()
        inode = stat.inode
        device = stat.device
        size = stat.size
        blocks = stat.blocks
        mtimeSeconds = stat.mtime_seconds
        ctimeSeconds = stat.ctime_seconds
        atimeSeconds = stat.atime_seconds
        mtimeNanoseconds = stat.mtime_nanoseconds
        ctimeNanoseconds = stat.ctime_nanoseconds
        atimeNanoseconds = stat.atime_nanoseconds
        mode = stat.mode
        uid = stat.uid
        gid = stat.gid
        linkCount = stat.links
        deviceMajor = stat.rdev_major
        deviceMinor = stat.rdev_minor
    }
}

extension EntryMetadata {
    /// Time of the last access.
    public var accessTime: TimeStamp { TimeStamp(seconds: atimeSeconds, nanoseconds: atimeNanoseconds) }

    /// Time of the last modification.
    public var modificationTime: TimeStamp { TimeStamp(seconds: mtimeSeconds, nanoseconds: mtimeNanoseconds) }
}
