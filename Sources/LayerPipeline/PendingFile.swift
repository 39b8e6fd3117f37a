import Glibc
import LayerModel
import LinuxIO
import Synchronization

/// A file in the making, that gets its name when it is complete.
///
/// Without a name (O_TMPFILE) nothing is left even of a killed process. Where the file system has no such files, a
/// dotted name stands in, which is removed when this value goes.
final class PendingFile {
    private let directory: OwnedDescriptor
    private let directoryPath: PathBytes
    private let name: PathBytes
    private let mode: UInt32
    private var temporary: PathBytes?

    init(directory path: PathBytes, name: PathBytes, mode: UInt32) throws(SystemCallError) {
        directory = try path.open([.pathOnly, .directory])
        directoryPath = path
        self.name = name
        self.mode = mode
    }

    deinit {
        removeTemporary()
    }

    /// Opens the file for writing. Called once.
    func open() throws(SystemCallError) -> OwnedDescriptor {
        do throws(SystemCallError) {
            return try directory.open(NamePointer("."), [.unnamed, .writeOnly], mode: mode)
        } catch {
            // EOPNOTSUPP, EISDIR, EINVAL, ENOENT: what file systems and kernels without unnamed files say.
            guard [EOPNOTSUPP, EISDIR, EINVAL, ENOENT].contains(error.errno) else { throw error }
        }
        let candidate = TemporaryName.next()
        let opened = try candidate.withName { (name) throws(SystemCallError) in
            try directory.open(name, [.create, .exclusive, .writeOnly], mode: mode)
        }
        keepTemporary(candidate)
        return opened
    }

    /// Gives the complete file its name, in place of another file that may have it.
    func commit(_ file: borrowing OwnedDescriptor) throws(SystemCallError) {
        if temporary == nil {
            do throws(SystemCallError) {
                try name.withName { (name) throws(SystemCallError) in try directory.makeName(name, for: file) }
                return
            } catch {
                guard error.errno == EEXIST else { throw error }
            }
            // linkat does not replace; renaming does, at once.
            let candidate = TemporaryName.next()
            try candidate.withName { (name) throws(SystemCallError) in try directory.makeName(name, for: file) }
            keepTemporary(candidate)
        }
        guard let temporary else { return }
        try temporary.withName { (source) throws(SystemCallError) in
            try name.withName { (name) throws(SystemCallError) in
                try directory.rename(source, to: name, in: directory)
            }
        }
        self.temporary = nil
        AbandonedFile.forget()
    }

    private func keepTemporary(_ name: PathBytes) {
        temporary = name
        AbandonedFile.remember(PathBytes(directoryPath.bytes + [UInt8(ascii: "/")] + name.bytes))
    }

    private func removeTemporary() {
        guard let temporary else { return }
        // A failure has nobody to go to: the error that led here is on its way already.
        try? temporary.withName { (name) throws(SystemCallError) in try directory.unlink(name) }
        self.temporary = nil
        AbandonedFile.forget()
    }
}

/// The dotted file of the output under way, for a program that must end while a thread is stuck in a write.
package enum AbandonedFile {
    private static let path = Mutex<PathBytes?>(nil)

    /// Removes the file, if there is one. For use right before the process ends.
    package static func remove() {
        guard let path = path.withLock({ $0.take() }), let (directory, name) = path.splitLast(),
            let opened = try? directory.open([.pathOnly, .directory])
        else { return }
        try? name.withName { (name) throws(SystemCallError) in try opened.unlink(name) }
    }

    static func remember(_ path: PathBytes) { self.path.withLock { $0 = path } }
    static func forget() { path.withLock { $0 = nil } }
}
