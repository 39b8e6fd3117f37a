public import LayerModel

/// How a tree copy treats regular files.
public enum TreeCopyMode: Sendable, Equatable {
    /// New files with the same contents: shared blocks where the file system can, else copied.
    case content
    /// Further names of the same files, see link(2). A file that can have no more (EMLINK) is copied.
    case hardLink
}

/// Which extended attributes a tree copy takes along.
public struct TreeCopyAttributes: OptionSet, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// `security.capability`.
    public static let capability = TreeCopyAttributes(rawValue: 1)
    /// The marks of opaque directories: `overlay.opaque` in `trusted.` and `user.`, `user.fuseoverlayfs.opaque`.
    public static let opaque = TreeCopyAttributes(rawValue: 2)
    /// All that a file has.
    public static let all = TreeCopyAttributes(rawValue: 4)
    /// All but what overlayfs and fuse-overlayfs keep for themselves: what a container's programs have set.
    public static let portable = TreeCopyAttributes(rawValue: 8)

    func copies(_ name: RawSpan) -> Bool {
        if contains(.all) { return true }
        if contains(.portable), !isPrivate(name) { return true }
        if contains(.capability), bytes(name, equal: "security.capability") { return true }
        return contains(.opaque)
            && (bytes(name, equal: "trusted.overlay.opaque") || bytes(name, equal: "user.overlay.opaque")
                || bytes(name, equal: "user.fuseoverlayfs.opaque"))
    }

    private func isPrivate(_ name: RawSpan) -> Bool {
        bytes(name, startWith: "trusted.overlay.") || bytes(name, startWith: "user.overlay.")
            || bytes(name, startWith: "user.fuseoverlayfs.")
    }
}

/// How a tree is copied.
public struct TreeCopyOptions: Sendable {
    public var mode = TreeCopyMode.content
    public var attributes: TreeCopyAttributes = [.capability]
    /// The target's root gets owner, mode, attributes and times of the source's.
    public var copiesRootMetadata = true
    /// Attributes that /etc/xattr.conf keeps out of copies are left out (`AttributeRules`), as cp(1) does.
    public var followsAttributeRules = true
    /// Attributes that the target's file system does not know (ENOTSUP) are left out instead of being an error.
    public var toleratesUnsupportedAttributes = false
    /// Whether names are looked up, and contents read that no block can be shared of, many at a time through a ring: `auto`
    /// does where looks at names wait for a disk.
    public var io = IOMode.auto
    /// Whether long runs of zeros in contents that must be copied become holes.
    public var sparse = SparsePolicy.auto
    /// Worker threads; nil means one a core.
    public var workers: Int?
    public var cancel = CancelFlag()
    public var progress: Progress?
    /// The source's path, for messages.
    public var sourcePath: PathBytes?

    public init() {}
}

/// What a tree copy made.
public struct TreeCopyReport: Sendable, Equatable {
    /// Directories, the root not among them.
    public var directories = 0
    /// Regular files with contents of their own.
    public var files = 0
    /// Names of files that exist already.
    public var hardLinks = 0
    public var symbolicLinks = 0
    /// Devices, whiteouts, FIFOs and sockets.
    public var nodes = 0
    /// Names of devices left out because a user namespace may not have them.
    public var skippedDevices = 0
    /// Files whose blocks are shared with the source.
    public var clones = 0
    /// Files whose contents came through a ring, many at a time.
    public var filesAhead = 0
    /// Attributes that /etc/xattr.conf keeps out of copies.
    public var leftOutAttributes = LeftOutAttributes()
    /// Bytes of the contents of `files`.
    public var contentBytes: UInt64 = 0
    public var io = IOCounters()

    public init() {}

    /// Names made, the root not among them.
    public var entries: Int { directories + files + hardLinks + symbolicLinks + nodes }

    mutating func add(_ other: TreeCopyReport) {
        directories += other.directories
        files += other.files
        hardLinks += other.hardLinks
        symbolicLinks += other.symbolicLinks
        nodes += other.nodes
        skippedDevices += other.skippedDevices
        clones += other.clones
        filesAhead += other.filesAhead
        leftOutAttributes.add(other.leftOutAttributes)
        contentBytes += other.contentBytes
        io.add(other.io)
    }
}

/// Copies directory trees.
public enum TreeCopy {
    /// Copies everything in `source` into the directory `target`.
    ///
    /// Directories that are there are kept and get the source's metadata; another name that is there is an error
    /// (EEXIST). Whiteouts are copied as they are. Of a file's several names in the source, the target has as many,
    /// of one file. Nobody else may change the target meanwhile. A file of the source that was replaced or
    /// written to is an error (`.fileChanged`), and nothing but the file that was looked at is read. After an error the
    /// target holds a part; no file in it is incomplete. Throws `LayerError` with the entry's path, or `.cancelled`.
    public static func copy(
        _ source: borrowing OwnedDescriptor, to target: borrowing OwnedDescriptor,
        options: TreeCopyOptions = TreeCopyOptions()
    ) throws(LayerError) -> TreeCopyReport {
        let plan = try CopyPlan(source, target, options)
        plan.stack.push(TreeDirectories.root)
        // A worker that fails must not leave the others waiting. The flag is the pool's own: the caller's says what
        // the caller wants, and may serve the next job.
        do throws(LayerError) {
            try WorkerPool(count: options.workers).run(cancel: CancelFlag()) { () throws(LayerError) in
                var copier = TreeCopier(plan)
                try copier.run()
            }
            try options.cancel.check("copy")
        } catch {
            try? plan.restoreAccessList()
            throw error
        }
        try plan.restoreAccessList()
        return plan.report.update { ($0, false) }
    }
}

/// Everything the workers of a copy share.
final class CopyPlan: Sendable {
    let options: TreeCopyOptions
    let source: SharedDescriptor
    let target: SharedDescriptor
    let directories: TreeDirectories
    let stack = WorkStack()
    let links = CopiedLinks()
    let report = Monitor(TreeCopyReport())
    /// Ids that a new file gets by itself, and the bits that it never gets.
    let user = ProcessState.effectiveUser
    let group = ProcessState.effectiveGroup
    let umask = ProcessState.currentUmask
    /// New names may get another group from the target's root.
    let inheritsGroup: Bool
    /// The default access list of the target's root, which new names would inherit; taken off for the time of the copy.
    private let accessList: [UInt8]?

    init(_ source: borrowing OwnedDescriptor, _ target: borrowing OwnedDescriptor, _ options: TreeCopyOptions)
        throws(LayerError)
    {
        self.options = options
        directories = try TreeDirectories()
        do throws(SystemCallError) {
            // Descriptors of our own: reading a directory moves its position, and handles on names cannot be read.
            let opened = try target.open(NamePointer("."), [.readOnly, .directory])
            let metadata = try opened.metadata()
            inheritsGroup = metadata.mode & 0o2000 != 0 || metadata.gid != group
            var reader = AttributeReader()
            if try reader.read(NamePointer("system.posix_acl_default"), of: opened) == nil {
                accessList = nil
            } else {
                accessList = reader.lastValue.copied()
                try opened.removeAttribute(NamePointer("system.posix_acl_default"))
            }
            self.target = SharedDescriptor(opened)
            self.source = SharedDescriptor(try source.open(NamePointer("."), [.readOnly, .directory]))
        } catch {
            throw LayerError(error, "copy", path: options.sourcePath)
        }
    }

    /// Ends the work for everybody.
    func stop() {
        stack.stop()
        links.stop()
    }

    /// Gives the target's root its access list back, unless it got the source's metadata.
    func restoreAccessList() throws(LayerError) {
        guard let accessList, !options.copiesRootMetadata else { return }
        do throws(SystemCallError) {
            try target.descriptor.setAttribute(NamePointer("system.posix_acl_default"), accessList.rawBytes)
        } catch { throw LayerError(error, "copy", path: path(TreeDirectories.root)) }
    }

    func path(_ directory: UInt32, _ name: [UInt8] = []) -> PathBytes {
        directories.path(options.sourcePath, directory, name)
    }
}
