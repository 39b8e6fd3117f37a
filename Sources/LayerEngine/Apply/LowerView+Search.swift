import Glibc
import LayerModel
import LinuxIO

/// A real directory of a lower layer.
struct LowerPlace {
    var handle: SharedDescriptor
    /// Which layer it belongs to, 0 for the nearest.
    var layer: Int
}

/// The lower directories as an apply has them: names are NUL-terminated bytes.
extension LowerView: LowerDirectories {
    typealias Place = LowerPlace
    typealias Name = [UInt8]
    typealias Stack = [LowerPlace]
    typealias Asker = Void
    typealias Failure = SystemCallError

    func count(_ stack: [LowerPlace]) -> Int { stack.count }

    func place(_ position: Int, in stack: [LowerPlace]) -> LowerPlace { stack[position] }

    func behind(_ place: LowerPlace) -> (stack: [LowerPlace], position: Int) { (roots, place.layer + 1) }

    func name(_ bytes: [UInt8]) -> [UInt8] { bytes }

    func look(at name: [UInt8], in place: LowerPlace, for _: Void) throws(SystemCallError) -> LowerLook<LowerPlace> {
        if try hasPrefixedWhiteout(name.rawBytes.extracting(0..<name.count - 1), in: place.handle) { return .stop }
        switch place.handle.descriptor.tryOpen(
            NamePointer(terminated: name.rawBytes), [.readOnly, .directory, .noFollow])
        {
        case .success(let number):
            let opened = SharedDescriptor(OwnedDescriptor(adopting: number))
            return .directory(LowerPlace(handle: opened, layer: place.layer))
        case .failure(let error):
            switch error.errno {
            case ENOENT: return .absent
            case ENOTDIR, ELOOP: return .other(.unknown)
            default: throw error
            }
        }
    }

    func directoryMarks(_: [UInt8], in _: LowerPlace, _ child: LowerPlace, for _: Void)
        throws(SystemCallError) -> OverlayMarks
    {
        var marks = try reader.marks(of: child.handle.descriptor, dialect: dialect)
        if try hasMarkerFile(child.handle.descriptor) { marks.opaque = true }
        if !marks.opaque { try marks.check(isDirectory: true) }
        return marks
    }

    func fileMarks(_ name: [UInt8], in place: LowerPlace, _: EntryKind, for _: Void)
        throws(SystemCallError) -> OverlayMarks?
    {
        let directory = place.handle
        guard
            let metadata = try directory.descriptor.metadataIfPresent(NamePointer(terminated: name.rawBytes)),
            metadata.kind == .regular
        else { return nil }
        let marks = try reader.marks(
            of: NamePointer(terminated: name.rawBytes), in: directory.descriptor, dialect: dialect)
        if marks.metacopy { try marks.check(isDirectory: false) }
        return marks
    }

    func leadsOut(_: Void) -> SystemCallError { SystemCallError("overlay.redirect", errno: EACCES) }

    /// Where the data of a lower file lie: in the file, or behind it if overlayfs copied up its metadata only.
    func data(of found: LowerEntry, _ arena: NameArena)
        throws(SystemCallError) -> (name: [UInt8], place: LowerPlace)?
    {
        let name = arena[found.name].copied() + [0]
        let place = found.stack[found.position]
        let marks = try reader.marks(of: arena.pointer(found.name), in: found.directory.descriptor, dialect: dialect)
        guard marks.metacopy else { return (name, place) }
        try marks.check(isDirectory: false)
        // A class, whose mutating requirements change nothing that a name holds.
        var lowers = self
        var search = LowerSearch<LowerView>(found.stack, from: found.position + 1, name, for: ())
        try lowers.take(marks.redirect, &search, behind: behind(place))
        return try lowers.findData(&search)
    }

    /// The directories that merge under a name, given those of its directory and its own redirect.
    func merged(_ name: [UInt8], in places: [LowerPlace], _ redirect: OverlayRedirect?)
        throws(SystemCallError) -> [LowerPlace]
    {
        var lowers = self
        var search = LowerSearch<LowerView>(places, name, for: ())
        try lowers.take(redirect, &search, behind: (roots, 0))
        return try lowers.collect(&search)
    }
}
