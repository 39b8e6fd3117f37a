import Glibc
public import LayerModel

/// Which file something is: two names with the same identity are names of one file.
///
/// It says so while the file exists; afterwards its number may be given to a new one.
public struct FileIdentity: BitwiseCopyable, Hashable, Sendable {
    public var device: UInt64
    public var inode: UInt64

    public init(device: UInt64, inode: UInt64) {
        self.device = device
        self.inode = inode
    }

    public init(_ metadata: EntryMetadata) { self.init(device: metadata.device, inode: metadata.inode) }
}

/// What opening a file for its contents found.
public enum RegularFile: ~Copyable, Sendable {
    /// The file that was expected. Its metadata are those of now: it may have grown, shrunk or been written to.
    case same(OwnedDescriptor, EntryMetadata)
    /// The name stands for something else now, of which nothing was read.
    case changed
    /// The name is gone.
    case vanished
}

extension OpenFlags {
    /// Opening a terminal does not make it this process's own.
    public static let noControllingTerminal = OpenFlags(rawValue: 0o400)

    /// How a file that should be a regular one is opened to be read: what it may have become instead neither leads
    /// elsewhere nor makes the call wait.
    public static let contents: OpenFlags = [.readOnly, .noFollow, .nonBlocking, .noControllingTerminal]
}

/// The one way from a name to contents. Between the look at a name and its opening others may put anything in its place,
/// and a container may on purpose: a link, a FIFO, a device node with the host's disk behind it. So the open file is
/// looked at again, and used only if it is what was expected; that costs one fstat(2), half a microsecond.
///
/// What stands there instead is opened all the same, though nothing is read from it. Not to open it would take a third call
/// for every file: a handle on the name (O_PATH), its metadata, and an opening through /proc, a twentieth of a warm diff
/// once more. Without that call remain:
/// * A FIFO is opened without waiting, which lets a waiting writer go on and then fail. Whoever put it there is that writer.
/// * A device node's opening can act: a tape rewinds, a watchdog starts. Who reads what others may change at that moment
///   reads it through a view without devices (`withoutDevices`), as every export of a store's layer and of an upper
///   directory does. It remains for plain trees given by path, on which mounts count, and for copies of trees, which
///   may share blocks only within one mount before Linux 5.18: mount them `nodev` where a container runs in them.
extension OwnedDescriptor {
    /// Opens `name` in this directory for reading, if it is the regular file `expected`, which a look at it found before.
    ///
    /// Throws what opening the expected file failed with.
    public func openRegular(_ name: borrowing NamePointer, expecting expected: FileIdentity)
        throws(SystemCallError) -> RegularFile
    {
        let problem: SystemCallError
        do throws(SystemCallError) {
            let file = try open(name, .contents)
            let metadata = try file.metadata()
            return metadata.isRegular(expected) ? .same(file, metadata) : .changed
        } catch { problem = error }
        switch problem.errno {
        case ENOENT: return .vanished
        // ELOOP: a link. ENXIO, ENODEV: a socket, or a device that this machine does not have.
        case ELOOP, ENXIO, ENODEV: return .changed
        default: break
        }
        // An error counts only if it is the file's own; what stands there instead may have answered.
        let now: EntryMetadata?
        do throws(SystemCallError) { now = try metadataIfPresent(name) } catch { throw problem }
        guard let now else { return .vanished }
        guard now.isRegular(expected) else { return .changed }
        throw problem
    }
}

/// Names that lead to contents without having been looked at before: parts of stores and of layers, which others write to.
/// What is there is looked at through a descriptor that does not open it, since to open a device may already do something.
extension OwnedDescriptor {
    /// Opens for reading the regular file to which `path` leads beneath this directory.
    ///
    /// Throws EISDIR for a directory, and ENXIO, as for a device that nobody has, for anything else that is no regular file.
    public func openRegular(_ path: borrowing NamePointer, resolve: ResolveFlags)
        throws(SystemCallError) -> OwnedDescriptor
    {
        let seen = try open(path, .pathOnly, resolve: resolve)
        try seen.metadata().requireRegular()
        let file = try open(path, [.readOnly, .nonBlocking, .noControllingTerminal], resolve: resolve)
        try file.metadata().requireRegular()
        return file
    }

    /// Opens for reading the regular file `name` of this directory, links not followed, whichever it is by now.
    ///
    /// Throws as the other one does, and ENOENT where nothing is there.
    public func openRegular(_ name: borrowing NamePointer) throws(SystemCallError) -> OwnedDescriptor {
        try metadata(name).requireRegular()
        let file = try open(name, .contents)
        try file.metadata().requireRegular()
        return file
    }
}

extension PathBytes {
    /// Opens for reading the regular file at this path, a link at its end not followed; nil where nothing or something
    /// else is there.
    public func openRegular() throws(SystemCallError) -> OwnedDescriptor? {
        do throws(SystemCallError) {
            guard let (directory, name) = splitLast() else { return nil }
            let parent = try directory.open([.pathOnly, .directory])
            return try name.withName { (name) throws(SystemCallError) in try parent.openRegular(name) }
        } catch {
            // ENOENT and ENOTDIR of the way; ENXIO, EISDIR, ELOOP and ENODEV of what is there.
            if [ENOENT, ENOTDIR, ENXIO, EISDIR, ELOOP, ENODEV].contains(error.errno) { return nil }
            throw error
        }
    }
}

extension EntryMetadata {
    fileprivate func requireRegular() throws(SystemCallError) {
        if kind == .regular { return }
        throw SystemCallError("openat", errno: kind == .directory ? 21 : 6)
    }

    func isRegular(_ expected: FileIdentity) -> Bool {
        kind == .regular && FileIdentity(self) == expected
    }
}
