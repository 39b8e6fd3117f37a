internal import CLinux
public import LayerModel

/// Seconds and nanoseconds since 1970.
public struct TimeStamp: BitwiseCopyable, Sendable, Equatable {
    public var seconds: Int64
    public var nanoseconds: UInt32

    public init(seconds: Int64, nanoseconds: UInt32) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }
}

extension OwnedDescriptor {
    public func makeDirectory(_ name: borrowing NamePointer, mode: UInt32) throws(SystemCallError) {
        // Reason, here and below: NamePointer is NUL-terminated and valid during the call.
        try check(unsafe ldl_mkdirat(raw, name.address, mode), "mkdirat")
    }

    /// Makes a directory with exactly this mode and owner, whatever the umask, and without the access lists that this directory
    /// hands down; opened. What cannot be made so is not there. Throws EEXIST where something has the name.
    public func makeDirectory(
        _ name: borrowing NamePointer, exactly mode: UInt32, owner: (uid: UInt32, gid: UInt32)? = nil
    ) throws(SystemCallError) -> OwnedDescriptor {
        try makeDirectory(name, mode: 0o700)
        do throws(SystemCallError) {
            let made = try open(name, [.readOnly, .directory, .noFollow])
            try made.dropAccessLists()
            let found = try made.metadata()
            if let owner, found.uid != owner.uid || found.gid != owner.gid {
                try made.setOwner(uid: owner.uid, gid: owner.gid)
            }
            if found.mode & 0o7777 != mode { try made.setMode(mode) }
            return made
        } catch {
            try? removeDirectory(name)
            throw error
        }
    }

    /// Makes a symbolic link called `name` with the text `target`.
    public func makeSymbolicLink(_ name: borrowing NamePointer, target: borrowing NamePointer) throws(SystemCallError) {
        try check(unsafe ldl_symlinkat(target.address, raw, name.address), "symlinkat")
    }

    /// Makes `name` another name of `source` in `directory`; a symbolic link itself is linked, not its target.
    public func makeHardLink(
        _ name: borrowing NamePointer, to source: borrowing NamePointer, in directory: borrowing OwnedDescriptor
    ) throws(SystemCallError) {
        try check(unsafe ldl_linkat(directory.raw, source.address, raw, name.address), "linkat")
    }

    /// Gives `file`, which was opened without a name (`OpenFlags.unnamed`), the name `name` in this directory.
    public func makeName(_ name: borrowing NamePointer, for file: borrowing OwnedDescriptor) throws(SystemCallError) {
        try check(unsafe ldl_link_open_file(file.raw, raw, name.address), "linkat")
    }

    /// Makes a FIFO, device or socket; `mode` carries the type bits.
    public func makeNode(_ name: borrowing NamePointer, mode: UInt32, major: UInt32, minor: UInt32)
        throws(SystemCallError)
    {
        try check(unsafe ldl_mknodat(raw, name.address, mode, major, minor), "mknodat")
    }

    public func unlink(_ name: borrowing NamePointer) throws(SystemCallError) {
        try check(unsafe ldl_unlinkat(raw, name.address, 0), "unlinkat")
    }

    public func removeDirectory(_ name: borrowing NamePointer) throws(SystemCallError) {
        try check(unsafe ldl_unlinkat(raw, name.address, 0x200), "unlinkat")
    }

    /// Renames within or between directories. `exclusive` fails with EEXIST instead of replacing.
    public func rename(
        _ name: borrowing NamePointer, to target: borrowing NamePointer, in directory: borrowing OwnedDescriptor,
        exclusive: Bool = false
    ) throws(SystemCallError) {
        try check(
            unsafe ldl_renameat2(raw, name.address, directory.raw, target.address, exclusive ? 1 : 0), "renameat2")
    }

    /// Swaps two names, which both exist, in one step.
    public func exchange(
        _ name: borrowing NamePointer, with target: borrowing NamePointer, in directory: borrowing OwnedDescriptor
    ) throws(SystemCallError) {
        try check(unsafe ldl_renameat2(raw, name.address, directory.raw, target.address, 2), "renameat2")
    }

    /// The text of a symbolic link, into a part of `slab`; returns its length. A result that fills the range may be cut.
    public func readLink(_ name: borrowing NamePointer, into slab: borrowing Slab, _ range: Range<Int>)
        throws(SystemCallError) -> Int
    {
        // Reason: the range lies inside the slab, which the caller alone holds.
        let result = unsafe slab.withUnsafeAddress(range) {
            unsafe ldl_readlinkat(raw, name.address, $0, range.count)
        }
        return try check(result, "readlinkat")
    }

    public func setOwner(uid: UInt32, gid: UInt32) throws(SystemCallError) {
        try check(ldl_fchown(raw, uid, gid), "fchown")
    }

    /// Sets the owner of a name, links not followed.
    public func setOwner(_ name: borrowing NamePointer, uid: UInt32, gid: UInt32) throws(SystemCallError) {
        try check(unsafe ldl_lchownat(raw, name.address, uid, gid), "fchownat")
    }

    public func setMode(_ mode: UInt32) throws(SystemCallError) { try check(ldl_fchmod(raw, mode), "fchmod") }

    /// Sets the mode of a name without following or opening it, see fchmodat2(2).
    public func setMode(_ name: borrowing NamePointer, _ mode: UInt32) throws(SystemCallError) {
        try check(unsafe ldl_lchmodat(raw, name.address, mode), "fchmodat2")
    }

    public func setTimes(access: TimeStamp, modification: TimeStamp) throws(SystemCallError) {
        try check(
            ldl_futimens(
                raw, access.seconds, access.nanoseconds, modification.seconds, modification.nanoseconds), "futimens")
    }

    /// Sets the times of a name, links not followed.
    public func setTimes(_ name: borrowing NamePointer, access: TimeStamp, modification: TimeStamp)
        throws(SystemCallError)
    {
        try check(
            unsafe ldl_lutimensat(
                raw, name.address, access.seconds, access.nanoseconds, modification.seconds,
                modification.nanoseconds), "utimensat")
    }
}
