import Glibc
import LayerModel
import LinuxIO

/// The directory that a layer is unpacked into, and how to undo that.
final class ImportRoot {
    /// What the directory was before.
    private enum Origin {
        case created(parent: PathBytes, name: PathBytes)
        case empty
        case occupied
    }

    let descriptor: OwnedDescriptor
    private let path: PathBytes
    private let origin: Origin
    /// Set when unpacking begins: from then on a failure leaves traces.
    var hasStarted = false

    /// Opens the directory at `path`, or makes its last component.
    init(_ path: PathBytes, mode: UInt32) throws(LayerError) {
        self.path = path
        if let opened = try Self.open(path) {
            let isEmpty = try attempt("read", path) { () throws(SystemCallError) in
                try TreeRemoval.isEmpty(opened, ignoring: Self.recovery)
            }
            descriptor = opened
            origin = isEmpty ? .empty : .occupied
            return
        }
        guard let (parent, name) = path.splitLast() else {
            throw LayerError(.notFound, "open the root", path: path, cause: .reason("there is no such directory"))
        }
        descriptor = try Self.create(name, in: parent, path, mode)
        origin = .created(parent: parent, name: name)
    }

    var wasCreated: Bool {
        if case .created = origin { true } else { false }
    }

    /// Whether there was anything in it that unpacking changes.
    var isOccupied: Bool {
        if case .occupied = origin { true } else { false }
    }

    private static func open(_ path: PathBytes) throws(LayerError) -> OwnedDescriptor? {
        do throws(SystemCallError) {
            return try path.open([.readOnly, .directory])
        } catch {
            switch error.errno {
            case ENOENT: return nil
            case ENOTDIR:
                throw LayerError(
                    .cannotCreate, "open the root", path: path, cause: .systemCall(error), hint: "name a directory")
            default: throw LayerError(error, "open the root", path: path)
            }
        }
    }

    private static func create(
        _ name: PathBytes, in parent: PathBytes, _ path: PathBytes, _ mode: UInt32
    ) throws(LayerError) -> OwnedDescriptor {
        let directory = try openParent(parent, path)
        return try attempt("create the root", path, as: .cannotCreate) { () throws(SystemCallError) in
            try name.withName { (name) throws(SystemCallError) in
                // What its folder hands down would give everything made in it other modes.
                try directory.makeDirectory(name, exactly: mode & ~ProcessState.currentUmask)
            }
        }
    }

    private static func openParent(_ parent: PathBytes, _ path: PathBytes) throws(LayerError) -> OwnedDescriptor {
        do throws(SystemCallError) {
            return try parent.open([.pathOnly, .directory])
        } catch {
            throw LayerError(
                .cannotCreate, "create the root", path: path, cause: .systemCall(error),
                hint: error.errno == ENOENT ? "only its last component is created; make \(parent) first" : nil)
        }
    }

    /// Takes back what was unpacked, as far as nothing else was there, and returns the error to throw.
    func undo(after error: LayerError) -> LayerError {
        var result = error
        do throws(LayerError) {
            switch origin {
            case .occupied:
                if hasStarted, error.hint == nil { result.hint = "\(path) holds a partly applied layer" }
                return result
            case .empty:
                try removeContents()
            case .created(let parent, let name):
                try removeContents()
                try attempt("remove", path) { () throws(SystemCallError) in
                    let directory = try parent.open([.pathOnly, .directory])
                    try name.withName { (name) throws(SystemCallError) in try directory.removeDirectory(name) }
                }
            }
        } catch {
            result.hint = "\(path) could not be emptied again (\(error)): remove it"
        }
        return result
    }

    /// What a fresh ext file system has in its root. It does not count, and stays.
    private static let recovery: StaticString = "lost+found"

    private func removeContents() throws(LayerError) {
        var options = TreeRemovalOptions()
        options.keeps = Self.recovery
        options.path = path
        try TreeRemoval.removeContents(of: descriptor, options: options)
    }
}
