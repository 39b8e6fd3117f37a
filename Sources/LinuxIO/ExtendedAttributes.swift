internal import CLinux
public import LayerModel

/// Extended attributes of one file at a time: a list of names and the values, in reused buffers.
///
/// A file system without attributes (ENOTSUP) has none. Limits are the kernel's: 64 KiB of names, 64 KiB a value. A file
/// may have more names, on tmpfs, xfs and btrfs; the kernel lists none of them then (E2BIG), and the list is of those that
/// mean something to the kernel or to this program (`isCut`), which are asked for one by one.
public struct AttributeReader: ~Copyable {
    private let names = Slab(capacity: 65_536)
    private let value = Slab(capacity: 65_536)
    /// Bytes of the last list, names separated by NUL.
    public private(set) var listByteCount = 0
    /// The last list lacks names, because there are too many.
    public private(set) var isCut = false

    public init() {}

    /// What is looked for where there is no list.
    private static let known: [StaticString] = [
        "security.capability", "security.ima", "security.selinux", "system.posix_acl_access",
        "system.posix_acl_default", "trusted.overlay.opaque", "trusted.overlay.whiteout", "trusted.overlay.redirect",
        "trusted.overlay.metacopy", "trusted.overlay.nlink", "trusted.overlay.origin", "user.overlay.opaque",
        "user.overlay.whiteout", "user.overlay.redirect", "user.overlay.metacopy", "user.overlay.nlink",
        "user.overlay.origin", "user.fuseoverlayfs.opaque", "user.containers.override_stat",
    ]

    // Nearly every file has no attribute. The kernel allocates a buffer as large as the one it is given, 64 KiB here,
    // so the first call gives none and asks for the length only.

    /// Reads the names of an open file's attributes; returns the list's byte count.
    public mutating func list(of file: borrowing OwnedDescriptor) throws(SystemCallError) -> Int {
        // Reason: without capacity nothing is written; with it, the slab has 65,536 bytes and is held by self alone.
        var result = ldl_flistxattr(file.raw, nil, 0)
        if result > 0 {
            unsafe result = names.withUnsafeAddress(0..<names.capacity) {
                unsafe ldl_flistxattr(file.raw, $0.assumingMemoryBound(to: CChar.self), names.capacity)
            }
        }
        isCut = result == Self.tooManyNames
        guard isCut else { return try finishList(result, "flistxattr") }
        // Reason: the name is a constant; without capacity nothing is written.
        return try listKnown("fgetxattr") { unsafe ldl_fgetxattr(file.raw, $0.address, nil, 0) }
    }

    /// Reads the names of the attributes of a name in a directory, neither followed nor opened.
    public mutating func list(of name: borrowing NamePointer, in directory: borrowing OwnedDescriptor)
        throws(SystemCallError) -> Int
    {
        // Reason: as above.
        var result = unsafe ldl_listxattrat(directory.raw, name.address, nil, 0)
        if result > 0 {
            unsafe result = names.withUnsafeAddress(0..<names.capacity) {
                unsafe ldl_listxattrat(
                    directory.raw, name.address, $0.assumingMemoryBound(to: CChar.self), names.capacity)
            }
        }
        isCut = result == Self.tooManyNames
        guard isCut else { return try finishList(result, "listxattrat") }
        // Reason: as above.
        return try listKnown("getxattrat") {
            unsafe ldl_getxattrat(directory.raw, name.address, $0.address, nil, 0)
        }
    }

    /// E2BIG
    private static let tooManyNames: Int64 = -7

    /// Makes a list of those known names that asking for their size finds.
    private mutating func listKnown(
        _ call: StaticCallName, _ size: (borrowing NamePointer) -> Int64
    ) throws(SystemCallError) -> Int {
        names.start = 0
        names.end = 0
        for known in Self.known {
            let name = NamePointer(known)
            let found = size(name)
            if found == -61 || found == -95 || found == -38 { continue }
            try check(found, call)
            names.append(name.copied().rawBytes)
            names.appendZeros(1)
        }
        listByteCount = names.end
        return listByteCount
    }

    private mutating func finishList(_ result: Int64, _ call: StaticCallName) throws(SystemCallError) -> Int {
        listByteCount = 0
        if result == -95 || result == -38 { return 0 }
        listByteCount = try check(result, call)
        return listByteCount
    }

    /// The name that begins at `position` of the list, without its NUL; the next one begins `byteCount + 1` later.
    @_lifetime(borrow self)
    public func name(at position: Int) -> RawSpan {
        var end = position
        let list = names.span(0..<listByteCount)
        while end < listByteCount, list[end] != 0 { end += 1 }
        // Reason: the slab is owned by self.
        return unsafe _overrideLifetime(names.span(position..<end), borrowing: self)
    }

    /// The name that begins at `position` of the list, as system calls take it.
    @_lifetime(borrow self)
    public func pointer(at position: Int) -> NamePointer {
        let length = name(at: position).byteCount
        // Reason: the slab is owned by self; names in the list are NUL-terminated.
        return unsafe _overrideLifetime(
            NamePointer(terminated: names.span(position..<position + length + 1)), borrowing: self)
    }

    /// Reads the value of the listed name at `position`; nil where it is gone meanwhile.
    public mutating func readValue(at position: Int, of file: borrowing OwnedDescriptor)
        throws(SystemCallError) -> Int?
    {
        // Reason: names in the list are NUL-terminated; the value slab has 65,536 bytes and is held by self alone.
        let result = unsafe names.withUnsafeAddress(position..<names.capacity) { name in
            unsafe value.withUnsafeAddress(0..<value.capacity) { target in
                unsafe ldl_fgetxattr(file.raw, name.assumingMemoryBound(to: CChar.self), target, value.capacity)
            }
        }
        return try finishValue(result, "fgetxattr")
    }

    /// Reads one attribute of an open file; nil where it has none of that name.
    public mutating func read(_ attribute: borrowing NamePointer, of file: borrowing OwnedDescriptor)
        throws(SystemCallError) -> Int?
    {
        // Reason: as above.
        let result = unsafe value.withUnsafeAddress(0..<value.capacity) {
            unsafe ldl_fgetxattr(file.raw, attribute.address, $0, value.capacity)
        }
        return try finishValue(result, "fgetxattr")
    }

    /// Reads one attribute of a name in a directory, neither followed nor opened.
    public mutating func read(
        _ attribute: borrowing NamePointer, of name: borrowing NamePointer, in directory: borrowing OwnedDescriptor
    ) throws(SystemCallError) -> Int? {
        // Reason: as above.
        let result = unsafe value.withUnsafeAddress(0..<value.capacity) {
            unsafe ldl_getxattrat(directory.raw, name.address, attribute.address, $0, value.capacity)
        }
        return try finishValue(result, "getxattrat")
    }

    /// Reads the value of the listed name at `position` of a name in a directory.
    public mutating func readValue(
        at position: Int, of name: borrowing NamePointer, in directory: borrowing OwnedDescriptor
    ) throws(SystemCallError) -> Int? {
        // Reason: as above.
        let result = unsafe names.withUnsafeAddress(position..<names.capacity) { attribute in
            unsafe value.withUnsafeAddress(0..<value.capacity) { target in
                unsafe ldl_getxattrat(
                    directory.raw, name.address, attribute.assumingMemoryBound(to: CChar.self), target,
                    value.capacity)
            }
        }
        return try finishValue(result, "getxattrat")
    }

    private mutating func finishValue(_ result: Int64, _ call: StaticCallName) throws(SystemCallError) -> Int? {
        value.end = 0
        // ENODATA, ENOTSUP, ENOSYS: there is no such attribute.
        if result == -61 || result == -95 || result == -38 { return nil }
        value.end = try check(result, call)
        return value.end
    }

    /// The value read last.
    public var lastValue: RawSpan {
        @_lifetime(borrow self)
        // Reason: the slab is owned by self.
        get { unsafe _overrideLifetime(value.span(0..<value.end), borrowing: self) }
    }
}

extension OwnedDescriptor {
    public func setAttribute(_ attribute: borrowing NamePointer, _ value: RawSpan) throws(SystemCallError) {
        // Reason: the name is NUL-terminated, the span readable for its byte count during the call.
        let result = unsafe value.withUnsafeBytes {
            unsafe ldl_fsetxattr(raw, attribute.address, $0.baseAddress, $0.count)
        }
        try check(result, "fsetxattr")
    }

    /// Sets an attribute of a name, links neither followed nor opened.
    public func setAttribute(_ attribute: borrowing NamePointer, _ value: RawSpan, of name: borrowing NamePointer)
        throws(SystemCallError)
    {
        // Reason: as above.
        let result = unsafe value.withUnsafeBytes {
            unsafe ldl_setxattrat(raw, name.address, attribute.address, $0.baseAddress, $0.count)
        }
        try check(result, "setxattrat")
    }

    /// Removes an attribute; absent ones are fine.
    public func removeAttribute(_ attribute: borrowing NamePointer) throws(SystemCallError) {
        // Reason: the name is NUL-terminated and valid during the call.
        let result = unsafe ldl_fremovexattr(raw, attribute.address)
        if result == -61 || result == -95 { return }
        try check(result, "fremovexattr")
    }

    /// Removes an attribute of a name, links neither followed nor opened; absent ones are fine.
    public func removeAttribute(_ attribute: borrowing NamePointer, of name: borrowing NamePointer)
        throws(SystemCallError)
    {
        // Reason: as above, both names.
        let result = unsafe ldl_removexattrat(raw, name.address, attribute.address)
        if result == -61 || result == -95 { return }
        try check(result, "removexattrat")
    }

    /// Takes away the access lists that a new directory has from the one above it (acl(5)): with them what is made in it
    /// would get other modes than it asks for.
    public func dropAccessLists() throws(SystemCallError) {
        try removeAttribute(NamePointer("system.posix_acl_default"))
        try removeAttribute(NamePointer("system.posix_acl_access"))
    }
}
