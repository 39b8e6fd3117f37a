import Glibc
import LayerModel
import LinuxIO

/// Finds one path in directories that merge, as overlayfs would show it: whiteouts and opaque directories hide what is
/// below, and a symbolic link of one layer may lead to a directory of another.
///
/// For single names; a walk has tables of its own. Directories that another mount moved (redirects) are not followed.
struct MergedLookup: ~Copyable {
    private let roots: [LayerDirectory]
    private let dialect: WhiteoutDialect
    /// The directories that merge at each level from the root to where the lookup is.
    private var levels: [[LayerDirectory]]
    /// Components that are still to be looked up, the next one last.
    private var waiting: [PathBytes] = []
    private var linksFollowed = 0
    private var attributes = AttributeReader()

    private static let mostLinks = 255

    init(_ roots: [LayerDirectory], _ dialect: WhiteoutDialect) {
        self.roots = roots
        self.dialect = dialect
        levels = [roots]
    }

    /// Opens what `path` names; nil where nothing does.
    mutating func open(_ path: PathBytes) throws(SystemCallError) -> OwnedDescriptor? {
        push(path.bytes)
        while let name = waiting.popLast() {
            if name == PathBytes("..") {
                if levels.count > 1 { levels.removeLast() }
                continue
            }
            switch try look(name, in: levels[levels.count - 1]) {
            case .absent: return nil
            case .directories(let found): levels.append(found)
            case .link(let directory): try follow(name, in: directory)
            case .file(let directory):
                // ENOTDIR: something was expected below it.
                guard waiting.isEmpty else { return nil }
                return try name.withName { (name) throws(SystemCallError) in
                    try directory.descriptor.openRegular(name)
                }
            }
        }
        return try levels[levels.count - 1].first?.openBeneath(PathBytes("."))
    }

    private enum Found {
        case absent
        case directories([LayerDirectory])
        case link(LayerDirectory)
        case file(LayerDirectory)
    }

    private mutating func push(_ path: [UInt8]) {
        let components = path.split(separator: UInt8(ascii: "/")).filter { $0 != [UInt8(ascii: ".")] }
        waiting += components.reversed().map { PathBytes(Array($0)) }
    }

    private mutating func follow(_ name: PathBytes, in directory: LayerDirectory) throws(SystemCallError) {
        linksFollowed += 1
        guard linksFollowed <= Self.mostLinks else { throw SystemCallError("openat2", errno: ELOOP) }
        let slab = Slab(capacity: 4096)
        let count = try name.withName { (name) throws(SystemCallError) in
            try directory.descriptor.readLink(name, into: slab, 0..<slab.capacity)
        }
        let target = slab.span(0..<count).copied()
        if target.first == UInt8(ascii: "/") { levels = [roots] }
        push(target)
    }

    private mutating func look(_ name: PathBytes, in stack: [LayerDirectory]) throws(SystemCallError) -> Found {
        var directories: [LayerDirectory] = []
        for directory in stack {
            let metadata = try name.withName { (name) throws(SystemCallError) in
                try directory.descriptor.metadataIfPresent(name)
            }
            guard let metadata else {
                if try hides(PathBytes(Array(".wh.".utf8) + name.bytes), in: directory) { break }
                continue
            }
            if try isWhiteout(name, metadata, in: directory) { break }
            guard metadata.kind == .directory else {
                guard directories.isEmpty else { break }
                return metadata.kind == .symbolicLink ? .link(directory) : .file(directory)
            }
            let child = try name.withName { (name) throws(SystemCallError) in
                LayerDirectory(try directory.descriptor.open(name, [.pathOnly, .directory, .noFollow]))
            }
            directories.append(child)
            if try hides(PathBytes(".wh..wh..opq"), in: child) { break }
            if try hasMark(.opaque, name, in: directory) { break }
        }
        return directories.isEmpty ? .absent : .directories(directories)
    }

    /// Whether a marker of this name lies in the directory, where the dialect has such files.
    private func hides(_ marker: PathBytes, in directory: LayerDirectory) throws(SystemCallError) -> Bool {
        guard dialect.recognises.contains(.prefixedFile) else { return false }
        return try marker.withName { (name) throws(SystemCallError) in
            try directory.descriptor.metadataIfPresent(name) != nil
        }
    }

    private mutating func isWhiteout(
        _ name: PathBytes, _ metadata: EntryMetadata, in directory: LayerDirectory
    ) throws(SystemCallError) -> Bool {
        switch metadata.kind {
        case .characterDevice: return dialect.recognises.contains(.device) && metadata.isWhiteoutDevice
        case .regular where metadata.size == 0: return try hasMark(.whiteout, name, in: directory)
        default: return false
        }
    }

    /// Whether the name carries the mark, with the value that overlayfs gives it.
    private mutating func hasMark(
        _ wanted: OverlayMark, _ name: PathBytes, in directory: LayerDirectory
    ) throws(SystemCallError) -> Bool {
        guard dialect.hasMarks else { return false }
        let terminated = name.bytes + [0]
        let pointer = NamePointer(terminated: terminated.rawBytes)
        let total = try attributes.list(of: pointer, in: directory.descriptor)
        var position = 0
        while position < total {
            let next = position + attributes.name(at: position).byteCount + 1
            if dialect.mark(attributes.name(at: position)) == wanted,
                try attributes.readValue(at: position, of: pointer, in: directory.descriptor) != nil,
                wanted != .opaque || bytes(attributes.lastValue, equal: "y")
            {
                return true
            }
            position = next
        }
        return false
    }
}
