internal import CLinux
internal import Glibc
public import LayerModel

/// Where the kernel looks for the next data or hole, see lseek(2).
public enum SeekTarget: Int32, Sendable {
    case start = 0
    case current = 1
    case end = 2
    case data = 3
    case hole = 4
}

/// Who may hold an advisory lock at the same time.
public enum LockKind: Int32, Sendable {
    case shared = 1
    case exclusive = 2
}

extension OwnedDescriptor {
    /// All that is left to read, as a small file's contents. Throws EFBIG where it is more than `limit` bytes: half a file is none.
    public func contents(limit: Int) throws(SystemCallError) -> [UInt8] {
        let slab = Slab(capacity: 64 << 10)
        var bytes: [UInt8] = []
        while true {
            let count = try read(into: slab, 0..<slab.capacity)
            if count == 0 { return bytes }
            bytes += slab.span(0..<count).copied()
            guard bytes.count <= limit else { throw SystemCallError("read", errno: EFBIG) }
        }
    }

    /// Reads at most `range.count` bytes at the file position into a part of `slab`; 0 at the end.
    public func read(into slab: borrowing Slab, _ range: Range<Int>) throws(SystemCallError) -> Int {
        // Reason: the range lies inside the slab (checked there), which the caller alone holds.
        let result = unsafe slab.withUnsafeAddress(range) { unsafe ldl_read(raw, $0, range.count) }
        return try check(result, "read")
    }

    /// Reads at most `range.count` bytes at `offset`.
    public func read(into slab: borrowing Slab, _ range: Range<Int>, at offset: Int64) throws(SystemCallError) -> Int {
        // Reason: as above.
        let result = unsafe slab.withUnsafeAddress(range) { unsafe ldl_pread(raw, $0, range.count, offset) }
        return try check(result, "pread")
    }

    /// Appends bytes from `offset` on to `buffer`, at most `limit` and as many as there is room for; says how many.
    public func read(
        into buffer: inout OutputRawSpan, at offset: Int64, limit: Int
    ) throws(SystemCallError) -> Int {
        // Reason: the kernel writes at most as many bytes as are free, and what it wrote is counted.
        let result = unsafe buffer.withUnsafeMutableBytes { bytes, initializedCount -> Int in
            let room = min(bytes.count - initializedCount, limit)
            guard room > 0, let address = bytes.baseAddress else { return 0 }
            let result = Int(unsafe ldl_pread(raw, address + initializedCount, room, offset))
            if result > 0 { initializedCount += result }
            return result
        }
        return try check(Int64(result), "pread")
    }

    /// As `read(into:_:at:)`, but nil where the bytes are not in memory and reading would wait (RWF_NOWAIT).
    ///
    /// A short count may also mean that only a part is in memory.
    public func readCached(into slab: borrowing Slab, _ range: Range<Int>, at offset: Int64)
        throws(SystemCallError) -> Int?
    {
        // Reason: as above.
        let result = unsafe slab.withUnsafeAddress(range) { unsafe ldl_pread_nowait(raw, $0, range.count, offset) }
        if result == -11 { return nil }
        if result == -95 || result == -22 { return try read(into: slab, range, at: offset) }
        return try check(result, "preadv2")
    }

    /// Asks the kernel to have a part of the file read by the time it is wanted. Only a hint; nothing waits.
    public func willNeed(_ range: Range<Int64>) {
        guard !range.isEmpty else { return }
        ldl_will_need(raw, range.lowerBound, range.upperBound - range.lowerBound)
    }

    /// Writes all of `bytes` at the file position; waits where a pipe or socket is full and does not wait itself.
    public func writeAll(_ bytes: RawSpan) throws(SystemCallError) {
        var done = 0
        while done < bytes.byteCount {
            let rest = bytes.extracting(done..<bytes.byteCount)
            // Reason: the span is readable for its byte count during the call.
            let result = unsafe rest.withUnsafeBytes { unsafe ldl_write(raw, $0.baseAddress, $0.count) }
            if result == -11 {
                ldl_wait_writable(raw)
                continue
            }
            done += try check(result, "write")
        }
    }

    /// Writes all of `bytes` at `offset`.
    public func writeAll(_ bytes: RawSpan, at offset: Int64) throws(SystemCallError) {
        var done = 0
        while done < bytes.byteCount {
            let rest = bytes.extracting(done..<bytes.byteCount)
            // Reason: as above.
            let result = unsafe rest.withUnsafeBytes {
                unsafe ldl_pwrite(raw, $0.baseAddress, $0.count, offset + Int64(done))
            }
            done += try check(result, "pwrite")
        }
    }

    /// Moves the file position; nil where there is no data behind `offset` (ENXIO).
    public func seek(_ offset: Int64, _ target: SeekTarget) throws(SystemCallError) -> Int64? {
        let result = ldl_seek(raw, offset, target.rawValue)
        if result == -6 { return nil }
        return Int64(try check(result, "lseek"))
    }

    public func truncate(to size: Int64) throws(SystemCallError) { try check(ldl_ftruncate(raw, size), "ftruncate") }

    /// Reserves `size` bytes on disk without changing the file's size. Unsupported file systems are ignored.
    public func preallocate(_ size: Int64) throws(SystemCallError) {
        let result = ldl_fallocate(raw, size)
        if [-95, -38, -22, -1].contains(result) { return }
        try check(result, "fallocate")
    }

    /// Gives the blocks of a part of the file back, which then reads as zeros. Unsupported file systems are ignored.
    public func punchHole(_ range: Range<Int64>) throws(SystemCallError) {
        let result = ldl_punch_hole(raw, range.lowerBound, range.upperBound - range.lowerBound)
        if [-95, -38, -1].contains(result) { return }
        try check(result, "fallocate")
    }

    /// Writes the whole file system's dirty data to disk, see syncfs(2).
    public func syncFileSystem() throws(SystemCallError) { try check(ldl_syncfs(raw), "syncfs") }

    /// Takes an advisory lock on the open file, see flock(2); false where another process holds it.
    public func tryLock(_ kind: LockKind) throws(SystemCallError) -> Bool {
        // LOCK_NB is 4.
        let result = ldl_flock(raw, kind.rawValue | 4)
        if result == -11 { return false }
        try check(result, "flock")
        return true
    }

    /// Takes an advisory lock on one byte, which need not exist, for as long as the file is open, see F_OFD_SETLK of fcntl(2);
    /// false where another open file has it.
    public func tryLock(byte offset: Int64, _ kind: LockKind) throws(SystemCallError) -> Bool {
        let result = ldl_lock_byte(raw, offset, kind == .exclusive ? 1 : 0)
        // EAGAIN, EACCES
        if result == -11 || result == -13 { return false }
        try check(result, "fcntl(F_OFD_SETLK)")
        return true
    }

    public func sync() throws(SystemCallError) { try check(ldl_fsync(raw), "fsync") }

    /// Makes this file share all blocks of `source` (FICLONE); false where the file system cannot.
    public func clone(from source: borrowing OwnedDescriptor) throws(SystemCallError) -> Bool {
        let result = ldl_clone(raw, source.raw)
        // EOPNOTSUPP, EXDEV, EINVAL, ENOTTY, ENOSYS: not this file system, not between these two. EPERM: a filter's, or one
        // that writing meets as well.
        if [-1, -95, -18, -22, -25, -38].contains(result) { return false }
        try check(result, "ioctl(FICLONE)")
        return true
    }

    /// Copies up to `count` bytes between the two file positions inside the kernel; nil where it cannot.
    public func copyRange(from source: borrowing OwnedDescriptor, count: Int) throws(SystemCallError) -> Int? {
        let result = ldl_copy_file_range(source.raw, raw, count)
        if [-1, -95, -18, -22, -38].contains(result) { return nil }
        return try check(result, "copy_file_range")
    }

    /// Copies up to `count` bytes at `offset`, the same in both files, inside the kernel; nil where it cannot.
    public func copyRange(from source: borrowing OwnedDescriptor, at offset: Int64, count: Int)
        throws(SystemCallError) -> Int?
    {
        let result = ldl_copy_file_range_at(source.raw, raw, offset, count)
        if [-1, -95, -18, -22, -38].contains(result) { return nil }
        return try check(result, "copy_file_range")
    }

    /// Asks for a pipe buffer of `byteCount` bytes, so that writer and reader change places less often.
    ///
    /// Only a hint: on other files, or beyond the system's limit, everything stays as it was.
    public func widenPipe(to byteCount: Int) {
        _ = ldl_set_pipe_size(raw, Int32(clamping: byteCount))
    }
}
