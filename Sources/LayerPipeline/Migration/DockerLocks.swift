import LayerModel
import LinuxIO

/// Databases that a running daemon of Docker's has locked: held, none starts meanwhile.
final class DockerLocks: Sendable {
    private let files: [LockedFile]

    /// Throws `inUse` while a daemon runs on the directory `root`.
    init(_ root: PathBytes, _ operation: String) throws(LayerError) {
        var files: [LockedFile] = []
        for name in ["volumes/metadata.db", "network/files/local-kv.db"] {
            if let file = try Self.lock(root.appending(name), operation) { files.append(file) }
        }
        self.files = files
    }

    /// Locks a database of the daemon's; nil where it has none of that name.
    private static func lock(_ path: PathBytes, _ operation: String) throws(LayerError) -> LockedFile? {
        let opened = try attempt("open", path) { () throws(SystemCallError) -> LockedFile? in
            guard let file = try path.openRegular() else { return nil }
            return LockedFile(file)
        }
        guard let held = opened else { return nil }
        guard try attempt("lock", path, { () throws(SystemCallError) in try held.file.tryLock(.exclusive) }) else {
            throw LayerError(
                .inUse, operation, path: path, cause: .reason("Docker's daemon is running on them"),
                hint: "stop it first: systemctl stop docker.socket docker.service")
        }
        return held
    }
}

/// An open file in an array.
final class LockedFile: Sendable {
    let file: OwnedDescriptor
    init(_ file: consuming OwnedDescriptor) { self.file = file }
}
