import Glibc
import LayerModel
import LinuxIO
import TarCodec

/// Owner and mode of a directory to be set.
struct DirectoryMetadata {
    var mode: UInt32
    var owner: Owner
    /// Whether this apply has just made it, with the process's ids and `mode` less the umask.
    var isNew: Bool
}

/// What the decoding thread itself does to names and what lies under them: calls on a directory's descriptor and a name in it.
/// Knows nothing of layers. Files' contents are the work of `FileQueue` and its writers.
final class EntryMaker {
    let tree: ApplyTree
    let files: FileQueue
    let values: EntryValues
    let log: ApplyLog
    let options: ApplyOptions
    /// Ids that something new gets by itself, and the bits that it never gets.
    let effective = Owner(uid: ProcessState.effectiveUser, gid: ProcessState.effectiveGroup)
    let umask = ProcessState.currentUmask
    private(set) var remover: TreeRemover
    var reader = AttributeReader()
    private let scratch = Slab(capacity: 8192)

    init(
        root: borrowing OwnedDescriptor, _ options: ApplyOptions, _ tree: ApplyTree, _ files: FileQueue, _ log: ApplyLog
    ) {
        self.tree = tree
        self.files = files
        self.log = log
        self.options = options
        values = files.values
        remover = Self.remover(below: root, options)
    }

    /// What removes directories: small ones as a rule, one after the other, all below the root.
    private static func remover(below root: borrowing OwnedDescriptor, _ options: ApplyOptions) -> TreeRemover {
        var removal = TreeRemovalOptions()
        removal.workers = 1
        removal.cancel = options.cancel
        removal.operation = "apply"
        var remover = TreeRemover(options: removal)
        remover.watchMounts(below: root)
        return remover
    }

    var policy: ApplyAttributePolicy { values.policy }

    /// The node's open directory.
    @inline(__always)
    func handle(_ node: UInt32) throws(LayerError) -> SharedDescriptor {
        do throws(SystemCallError) {
            return try tree.handle(node)
        } catch {
            throw LayerError(error, "apply", path: nil)
        }
    }

    /// What lies on disk under a name.
    func metadata(_ place: NamePlace) throws(LayerError) -> EntryMetadata? {
        let handle = try handle(place.node)
        let arena = tree.arena
        log.report.io.stats += 1
        return try attempt { () throws(SystemCallError) in
            try handle.descriptor.metadataIfPresent(arena.pointer(place.name))
        }
    }

    /// The text of a link in a directory, which may be one of the lower layers'.
    func linkTarget(_ name: NameRef, in directory: SharedDescriptor) throws(LayerError) -> [UInt8] {
        let arena = tree.arena
        let scratch = scratch
        let count = try attempt { () throws(SystemCallError) in
            try directory.descriptor.readLink(arena.pointer(name), into: scratch, 0..<4096)
        }
        return scratch.span(0..<count).copied()
    }

    // MARK: directories

    /// Looks at a directory that was there before: what new files inherit from it, and its times, which come back
    /// at the end unless the archive has others.
    func inspect(_ node: UInt32) throws(LayerError) {
        let flags = tree.flags(ofDirectory: node)
        guard !flags.contains(.fresh), !flags.contains(.inspected) else { return }
        tree.mark(node, .inspected)
        try refuseMounted(node)
        let handle = try handle(node)
        log.report.io.stats += 1
        let metadata = try attempt { () throws(SystemCallError) in try handle.descriptor.metadata() }
        if metadata.mode & 0o2000 != 0 || metadata.gid != effective.gid { tree.mark(node, .givesGroup) }
        let place = tree.place(ofDirectory: node)
        let parent = try self.handle(tree.nodes[Int(node)].parent)
        let arena = tree.arena
        log.report.io.attributeCalls += 1
        do throws(SystemCallError) {
            let name = NamePointer("system.posix_acl_default")
            if try reader.read(name, of: arena.pointer(place.name), in: parent.descriptor) != nil {
                tree.mark(node, .givesAccessLists)
            }
        } catch {
            throw LayerError(error, "apply", path: nil)
        }
        if node != ApplyTree.rootNode, !flags.contains(.hasTimes) {
            let time = TimeStamp(seconds: metadata.mtimeSeconds, nanoseconds: metadata.mtimeNanoseconds)
            tree.setTimesAtEnd(node, FileTimes(access: time, modification: time))
        }
    }

    /// mkdir under a name that is free; the place then says that it is there.
    func makeDirectory(_ place: NamePlace, mode: UInt32, _ how: NameFlags = .made) throws(LayerError) {
        let arena = tree.arena
        let handle = try handle(place.node)
        log.report.io.creates += 1
        try attempt { () throws(SystemCallError) in
            try handle.descriptor.makeDirectory(arena.pointer(place.name), mode: mode & 0o777 | 0o700)
        }
        tree.put(.directory, at: place, how)
    }

    func setDirectoryMetadata(_ child: UInt32, _ metadata: DirectoryMetadata) throws(LayerError) {
        if !metadata.isNew { try refuseMounted(child) }
        let place = tree.place(ofDirectory: child)
        let inherits = !tree.flags(ofDirectory: place.node).isDisjoint(with: [.givesGroup, .givesAccessLists])
        if differs(metadata.owner) || inherits || !metadata.isNew { try setOwner(metadata.owner, of: place) }
        if metadata.isNew { try dropInheritedAccessLists(place) }
        tree.mark(child, .givesGroup, metadata.owner.gid != effective.gid || metadata.mode & 0o2000 != 0)
        let made = (metadata.mode & 0o777 | 0o700) & ~umask
        if effective.uid != 0, metadata.mode & 0o700 != 0o700 {
            // Not root: the directory must stay usable until its contents are there.
            tree.mark(child, .hasFinalMode)
            tree.nodes[Int(child)].finalMode = metadata.mode
        }
        if !metadata.isNew || inherits || made != metadata.mode { try setDirectoryMode(place, metadata.mode) }
    }

    private func setDirectoryMode(_ place: NamePlace, _ mode: UInt32) throws(LayerError) {
        try setMode(effective.uid != 0 ? mode | 0o700 : mode, of: place)
    }

    /// What is left of a directory's mode where an access list of it could not be set.
    func limitDirectoryMode(_ child: UInt32, to mode: UInt32) throws(LayerError) {
        try setDirectoryMode(tree.place(ofDirectory: child), mode)
        tree.nodes[Int(child)].finalMode &= mode
    }

    /// Times of directories, parents first so that each directory is opened from its parent; then, for users who
    /// are not root, modes that would have locked them out, children first.
    func finishDirectories() throws(LayerError) {
        let arena = tree.arena
        var hasFinalModes = false
        for index in 0..<tree.nodes.count {
            let node = tree.nodes[index]
            if index > 0, tree.nodes[Int(node.parent)].flags.contains(.removed) {
                tree.nodes[index].flags.insert(.removed)
            }
            if tree.nodes[index].flags.contains(.removed) { continue }
            hasFinalModes = hasFinalModes || node.flags.contains(.hasFinalMode)
            guard node.flags.contains(.hasTimes) else { continue }
            if index & 0xff == 0 { try options.cancel.check() }
            let name = tree.records[Int(node.entry)].name
            let parent = try handle(node.parent)
            do throws(SystemCallError) {
                try parent.descriptor.setTimes(
                    arena.pointer(name),
                    access: TimeStamp(seconds: node.accessSeconds, nanoseconds: node.accessNanoseconds),
                    modification: TimeStamp(
                        seconds: node.modificationSeconds, nanoseconds: node.modificationNanoseconds))
            } catch {
                throw LayerError(error, "apply", path: tree.path(of: name, in: node.parent))
            }
        }
        guard hasFinalModes else { return }
        for index in (0..<tree.nodes.count).reversed() {
            let node = tree.nodes[index]
            guard node.flags.contains(.hasFinalMode), !node.flags.contains(.removed) else { continue }
            try setMode(node.finalMode, of: tree.place(ofDirectory: UInt32(index)))
        }
    }

    // MARK: removal

    /// Refuses to change anything in a directory that lies in something mounted below the root: that is somebody else's.
    func refuseMounted(_ node: UInt32) throws(LayerError) {
        guard !options.ownsMounts, node != ApplyTree.rootNode,
            tree.flags(ofDirectory: node).isDisjoint(with: [.fresh, .isOnRootsMount])
        else { return }
        let (directory, root) = (try handle(node), try handle(ApplyTree.rootNode))
        if let point = remover.mountPoint(holding: directory.descriptor, apartFrom: root.descriptor) {
            throw LayerError(
                .inUse, "apply", path: point, cause: .reason("it is a mount, which the layer would change"),
                hint: "unmount it first")
        }
        tree.mark(node, .isOnRootsMount)
    }

    /// Removes a directory and all below it, once nothing is being written any more.
    func removeDirectory(_ place: NamePlace) throws(LayerError) {
        try refuseMounted(place.node)
        try files.drain()
        try removeTree(place, countsBytes: tree.flags(place).contains(.unpacked))
    }

    /// The same where nothing is in the way; `countsBytes`: its files are in the sum of unique bytes.
    func removeTree(_ place: NamePlace, countsBytes: Bool) throws(LayerError) {
        let arena = tree.arena
        let handle = try handle(place.node)
        let removed = try remover.remove(arena.pointer(place.name), in: handle.descriptor, countsBytes: countsBytes)
        log.report.uniqueFileBytes &-= min(removed.freedBytes, log.report.uniqueFileBytes)
        tree.clear(place)
    }

    /// Removes something that is no directory.
    func removeName(_ place: NamePlace) throws(LayerError) {
        let arena = tree.arena
        let handle = try handle(place.node)
        let flags = tree.flags(place)
        if !flags.isDisjoint(with: [.unpacked, .made]) {
            try files.settle(place.node)
            try discount(place)
        }
        do throws(SystemCallError) { try handle.descriptor.unlink(arena.pointer(place.name)) } catch {
            if error.errno == EBUSY { throw TreeRemoval.mountPoint(tree.path(of: place), "apply") }
            throw LayerError(error, "apply", path: nil)
        }
        tree.clear(place)
    }

    /// Takes a file of this layer that is about to go out of the sum of unique bytes.
    private func discount(_ place: NamePlace) throws(LayerError) {
        if let metadata = try metadata(place), metadata.linkCount == 1 {
            log.report.uniqueFileBytes &-= UInt64(max(metadata.size, 0))
        }
    }

    // MARK: links and nodes

    /// Makes a symbolic link to `target`, which has less than 4,096 bytes.
    func makeSymbolicLink(_ place: NamePlace, to target: RawSpan) throws(LayerError) {
        let scratch = scratch
        scratch.start = 0
        scratch.end = 0
        scratch.append(target)
        scratch.appendZeros(1)
        let arena = tree.arena
        let handle = try handle(place.node)
        log.report.io.creates += 1
        try attempt { () throws(SystemCallError) in
            try handle.descriptor.makeSymbolicLink(
                arena.pointer(place.name), target: NamePointer(terminated: scratch.bytes))
        }
    }

    /// Makes a FIFO, a device or a socket that only its owner may use so far.
    func makeNode(_ place: NamePlace, _ kind: EntryKind, major: UInt32, minor: UInt32, in handle: SharedDescriptor)
        throws(SystemCallError)
    {
        let arena = tree.arena
        log.report.io.creates += 1
        try handle.descriptor.makeNode(
            arena.pointer(place.name), mode: kind.modeBits | 0o600, major: major, minor: minor)
    }
}
