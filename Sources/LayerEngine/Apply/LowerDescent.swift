import Glibc
import LayerModel
import LinuxIO

/// A real directory of a lower layer.
struct LowerPlace {
    var handle: DirectoryHandle
    /// Which layer it belongs to, 0 for the nearest.
    var layer: Int
}

/// A lookup through lower directories, nearest first, as overlayfs does it.
///
/// A redirect found on the way changes what is looked for in the directories behind: a relative one another name in
/// the same place, an absolute one a path from the roots of all layers behind.
struct LowerDescent {
    private var stack: [LowerPlace]
    private var position: Int
    /// The components below them; more than one only after an absolute redirect.
    private(set) var path: [OverlayRedirect.Step]
    /// Nothing behind can add anything.
    var isOver = false

    /// Looks for a name that a directory holds, NUL-terminated.
    init(_ stack: [LowerPlace], from position: Int = 0, _ name: [UInt8]) {
        self.stack = stack
        self.position = position
        path = [.name(name)]
    }

    /// The next place to look into; nil at the end.
    mutating func next() -> LowerPlace? {
        guard !isOver, position < stack.count else { return nil }
        position += 1
        return stack[position - 1]
    }

    /// Nothing is left to look into, unless a redirect leads elsewhere.
    var isAtEnd: Bool { position == stack.count }

    /// Takes a redirect found at the component that `rest` others follow, in the given layer.
    mutating func redirect(_ redirect: OverlayRedirect?, rest: Int, layer: Int, roots: [LowerPlace]) {
        guard let redirect else { return }
        let here = path.count - rest - 1
        path = (redirect.isAbsolute ? [] : path[..<here]) + redirect.steps + path[(here + 1)...]
        guard redirect.isAbsolute else { return }
        // An opaque directory above it does not stand in the way of an absolute path.
        isOver = false
        stack = roots
        position = layer + 1
    }
}

/// What a descent found in one layer.
enum LowerFinding {
    case directory(LowerPlace)
    /// A regular file, and whether it holds its data itself.
    case file(directory: DirectoryHandle, name: [UInt8], hasData: Bool)
}

extension LowerView {
    /// All directories that merge, nearest first.
    func collect(_ descent: inout LowerDescent) throws(SystemCallError) -> [LowerPlace] {
        var result: [LowerPlace] = []
        while let place = descent.next() {
            if case .directory(let found)? = try descend(&descent, from: place, forData: false) { result.append(found) }
        }
        return result
    }

    /// Where the data of a lower file lie: in the file, or behind it if overlayfs copied up its metadata only.
    func data(of found: LowerEntry, _ arena: NameArena) throws(SystemCallError) -> (DirectoryHandle, name: [UInt8])? {
        let name = arena[found.name].copied() + [0]
        let marks = try reader.marks(of: arena.pointer(found.name), in: found.directory.descriptor, dialect: dialect)
        guard marks.metacopy else { return (found.directory, name) }
        try marks.check(isDirectory: false)
        var descent = LowerDescent(found.stack, from: found.position + 1, name)
        descent.redirect(marks.redirect, rest: 0, layer: found.stack[found.position].layer, roots: roots)
        while let place = descent.next() {
            if case .file(let directory, let name, true)? = try descend(&descent, from: place, forData: true) {
                return (directory, name)
            }
        }
        return nil
    }

    /// Follows the descent's components in one layer.
    private func descend(_ descent: inout LowerDescent, from start: LowerPlace, forData: Bool)
        throws(SystemCallError) -> LowerFinding?
    {
        var place = start
        var rest = descent.path.count - 1
        while true {
            let component: [UInt8]
            switch descent.path[descent.path.count - rest - 1] {
            case .name(let name): component = name
            case .absent: return nil
            // EACCES, as the kernel's lookup of such a name.
            case .refused: throw SystemCallError("overlay.redirect", errno: EACCES)
            }
            if try hasPrefixedWhiteout(component.rawBytes.extracting(0..<component.count - 1), in: place.handle) {
                descent.isOver = true
                return nil
            }
            let opened: OwnedDescriptor
            switch place.handle.descriptor.tryOpen(
                NamePointer(terminated: component.rawBytes), [.readOnly, .directory, .noFollow])
            {
            case .success(let number): opened = OwnedDescriptor(adopting: number)
            case .failure(let error):
                if error.errno == ENOENT { return nil }
                // ENOTDIR, ELOOP: something else hides what lies below.
                guard error.errno == ENOTDIR || error.errno == ELOOP else { throw error }
                descent.isOver = true
                return forData && rest == 0 ? try file(component, in: place, &descent) : nil
            }
            if forData, rest == 0 {
                descent.isOver = true
                return nil
            }
            // Where nothing behind could add to it, overlayfs does not look at what a directory says.
            let isLast = dialect.movedContents == .followed ? place.layer == roots.count - 1 : descent.isAtEnd
            if !isLast {
                let marks = try reader.marks(of: opened, dialect: dialect)
                let hasMarker = try hasMarkerFile(opened)
                if marks.opaque || hasMarker {
                    descent.isOver = true
                } else {
                    try marks.check(isDirectory: true)
                    descent.redirect(marks.redirect, rest: rest, layer: place.layer, roots: roots)
                }
            }
            place = LowerPlace(handle: DirectoryHandle(opened), layer: place.layer)
            if rest == 0 { return .directory(place) }
            rest -= 1
        }
    }

    private func file(_ name: [UInt8], in place: LowerPlace, _ descent: inout LowerDescent)
        throws(SystemCallError) -> LowerFinding?
    {
        let directory = place.handle
        guard
            let metadata = try directory.descriptor.metadataIfPresent(NamePointer(terminated: name.rawBytes)),
            metadata.kind == .regular
        else { return nil }
        let marks = try reader.marks(
            of: NamePointer(terminated: name.rawBytes), in: directory.descriptor, dialect: dialect)
        if marks.metacopy {
            try marks.check(isDirectory: false)
            descent.isOver = false
            descent.redirect(marks.redirect, rest: 0, layer: place.layer, roots: roots)
        }
        return .file(directory: directory, name: name, hasData: !marks.metacopy)
    }
}
