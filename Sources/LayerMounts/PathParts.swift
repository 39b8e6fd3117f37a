public import LayerModel
internal import LinuxIO

private let slash = UInt8(ascii: "/")

/// Paths are split by their bytes alone; nothing here asks the file system.
extension PathBytes {
    /// Without slashes at the end; the root directory keeps its own.
    var trimmed: PathBytes {
        var bytes = bytes
        while bytes.count > 1, bytes.last == slash { bytes.removeLast() }
        return PathBytes(bytes)
    }

    var isAbsolute: Bool { bytes.first == slash }

    /// Whether this path is `top` or lies below it; both absolute and without `.` and `..`.
    func isAtOrBelow(_ top: PathBytes) -> Bool {
        let top = top.trimmed.bytes
        if top == [slash] { return isAbsolute }
        return bytes.starts(with: top) && (bytes.count == top.count || bytes[top.count] == slash)
    }

    /// The rest of this path behind `directory/`, or nil where it does not lie below it.
    func relative(to directory: PathBytes) -> PathBytes? {
        let directory = directory.trimmed.bytes
        let prefix = directory == [slash] ? directory : directory + [slash]
        guard bytes.count > prefix.count, bytes.starts(with: prefix) else { return nil }
        return PathBytes(Array(bytes[prefix.count...]))
    }

    /// Where the last component is really to be found: its directory as the kernel names it, and the component itself
    /// not followed, so that nothing mounted on it is touched.
    func resolvingParent(_ operation: String) throws(LayerError) -> PathBytes {
        try checkText(self, operation)
        guard let (above, last) = splitLast() else { return try resolved(operation) }
        let directory = try naming(operation, above) { () throws(SystemCallError) in
            try OwnedDescriptor.open(Terminated(above).name, [.pathOnly, .directory])
        }
        return try pathOfDescriptor(directory, operation).appending(last)
    }

    /// The same, with slashes at the end left out: the form in which the mount table names a mount point.
    public func resolvedParent() throws(LayerError) -> PathBytes { try trimmed.resolvingParent("look for mounts at") }

    /// The directory that this path leads to, as the kernel names it: for `/`, `.` and `..`, which are no names in a
    /// directory above.
    func resolved(_ operation: String) throws(LayerError) -> PathBytes {
        let directory = try naming(operation, self) { () throws(SystemCallError) in
            try OwnedDescriptor.open(Terminated(self).name, [.pathOnly, .directory])
        }
        return try pathOfDescriptor(directory, operation)
    }
}

/// The kernel's name of an open file, from /proc.
func pathOfDescriptor(_ descriptor: borrowing OwnedDescriptor, _ operation: String) throws(LayerError) -> PathBytes {
    let link = PathBytes("/proc/self/fd/\(descriptor.number)")
    let text = Slab(capacity: 4096 + 64)
    do {
        let directory = try OwnedDescriptor.open(NamePointer("/"), [.pathOnly, .directory])
        let count = try directory.readLink(Terminated(link).name, into: text, 0..<text.capacity)
        return PathBytes(text.span(0..<count).copied())
    } catch {
        throw LayerError(error, operation, path: link, hint: "/proc must be mounted")
    }
}

/// The whole of a small file of /proc or /sys.
func contents(of path: PathBytes, _ operation: String) throws(LayerError) -> [UInt8] {
    do {
        let file = try OwnedDescriptor.open(Terminated(path).name, .readOnly)
        return try file.contents(limit: .max)
    } catch {
        throw LayerError(error, operation, path: path)
    }
}
