internal import CLinux
public import LayerModel

/// One name that a directory holds, as getdents64(2) gives it.
public struct DirectoryEntry: BitwiseCopyable, Sendable {
    public var inode: UInt64
    public var kind: EntryKind
    /// Where the name lies in the reader's buffer.
    var nameOffset: Int
    public var nameLength: Int
}

/// Reads directories into one reused buffer.
///
/// `.` and `..` are left out. Order is the file system's.
public struct DirectoryReader: ~Copyable {
    private let buffer: Slab
    private var filled = 0
    private var position = 0
    /// getdents64 calls made so far.
    public private(set) var calls = 0

    /// 64 KiB of buffer holds about 1,600 names of ordinary length, which is nearly always the whole directory.
    public init(capacity: Int = 64 << 10) {
        buffer = Slab(capacity: capacity)
    }

    /// Forgets what is left in the buffer; the next `next` reads from the directory given to it.
    public mutating func restart() {
        filled = 0
        position = 0
    }

    /// The next entry of `directory`, or nil at its end. Its name is valid until the next call.
    public mutating func next(of directory: borrowing OwnedDescriptor) throws(SystemCallError) -> DirectoryEntry? {
        while true {
            if position >= filled {
                calls += 1
                // Reason: the buffer has `capacity` bytes and nobody else holds it.
                let count = unsafe buffer.withUnsafeAddress(0..<buffer.capacity) { address in
                    unsafe ldl_getdents64(directory.raw, address, buffer.capacity)
                }
                filled = try check(count, "getdents64")
                position = 0
                if filled == 0 { return nil }
            }
            var record = ldl_dirent()
            // Reason: the kernel filled the buffer with whole records, and position is the start of one of them.
            position = unsafe buffer.withUnsafeAddress(0..<buffer.capacity) { address in
                unsafe ldl_dirent_at(address, position, &record)
            }
            let entry = DirectoryEntry(
                inode: record.inode, kind: EntryKind(directoryEntryType: record.type),
                nameOffset: Int(record.name_offset), nameLength: Int(record.name_length))
            if !isSelfOrParent(entry) { return entry }
        }
    }

    /// The name's bytes.
    @_lifetime(borrow self)
    public func name(of entry: DirectoryEntry) -> RawSpan {
        let span = buffer.span(entry.nameOffset..<entry.nameOffset + entry.nameLength)
        // Reason: the slab is owned by self.
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    /// The name as system calls take it.
    @_lifetime(borrow self)
    public func pointer(of entry: DirectoryEntry) -> NamePointer {
        let span = buffer.span(entry.nameOffset..<entry.nameOffset + entry.nameLength + 1)
        // Reason: the slab is owned by self; the kernel ends each name with NUL.
        return unsafe _overrideLifetime(NamePointer(terminated: span), borrowing: self)
    }

    private func isSelfOrParent(_ entry: DirectoryEntry) -> Bool {
        guard entry.nameLength <= 2 else { return false }
        let name = name(of: entry)
        return name[0] == UInt8(ascii: ".") && (entry.nameLength == 1 || name[1] == UInt8(ascii: "."))
    }
}
