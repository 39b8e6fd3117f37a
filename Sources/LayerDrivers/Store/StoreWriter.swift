import Glibc
import LayerModel
import LinuxIO

/// Changes the small files, links and directories of a store, so that a crash leaves the old state or the new one.
///
/// Only what opened a store for writing has one of these; what looks at stores cannot call it.
struct StoreWriter: Sendable {
    /// Gives `path` the contents `bytes` in one step, with exactly `mode`, whatever the umask.
    ///
    /// Durable files are on disk when this returns, their name included.
    func write(
        _ bytes: [UInt8], to path: PathBytes, mode: UInt32, owner: Owner? = nil, durable: Bool = false
    ) throws(LayerError) {
        let (directory, name) = try parts(path)
        try attempt("write", path) { () throws(SystemCallError) in
            let parent = try directory.open([.readOnly, .directory])
            let temporary = PathBytes(".tmp-\(StoreFiles.randomText())")
            try temporary.withName { (temporary) throws(SystemCallError) in
                let file = try parent.open(temporary, [.writeOnly, .create, .exclusive], mode: 0o600)
                do throws(SystemCallError) {
                    try file.writeAll(bytes.rawBytes)
                    if let owner, owner != .current { try file.setOwner(uid: owner.uid, gid: owner.gid) }
                    try file.setMode(mode)
                    if durable { try file.sync() }
                    try name.withName { (name) throws(SystemCallError) in
                        try parent.rename(temporary, to: name, in: parent)
                    }
                } catch {
                    try? parent.unlink(temporary)
                    throw error
                }
            }
            if durable { try parent.sync() }
        }
    }

    /// Writes what `contents` says into the file at `path`, which keeps its inode, or is made before `contents` is asked.
    func write(inPlace path: PathBytes, _ contents: () throws(LayerError) -> [UInt8]) throws(LayerError) {
        let file = try attempt("write", path) { () throws(SystemCallError) in
            try path.withName { (name) throws(SystemCallError) in
                try OwnedDescriptor.open(name, [.writeOnly, .create, .truncate, .noFollow], mode: 0o600)
            }
        }
        let bytes = try contents()
        try attempt("write", path) { () throws(SystemCallError) in try file.writeAll(bytes.rawBytes) }
    }

    /// Makes the directory `path` with exactly this mode and owner, and without the access lists that the directory above
    /// hands on; says whether it did. One that exists keeps what it has.
    ///
    /// With `parents` missing directories above it are made alike. Throws ENOTDIR where something else is there.
    @discardableResult
    func makeDirectory(_ path: PathBytes, mode: UInt32, owner: Owner, parents: Bool = false) throws(LayerError) -> Bool
    {
        let (directory, name) = try parts(path)
        if parents, try StoreFiles.metadata(directory) == nil {
            try makeDirectory(directory, mode: mode, owner: owner, parents: true)
        }
        return try attempt("make the directory", path) { () throws(SystemCallError) in
            let parent = try directory.open([.pathOnly, .directory])
            return try name.withName { (name) throws(SystemCallError) in
                do throws(SystemCallError) {
                    _ = try parent.makeDirectory(name, exactly: mode, owner: (owner.uid, owner.gid))
                    return true
                } catch {
                    guard error.errno == EEXIST else { throw error }
                    _ = try parent.open(name, [.pathOnly, .directory, .noFollow])
                    return false
                }
            }
        }
    }

    /// Makes a symbolic link; one that is there already is an error.
    func makeLink(_ path: PathBytes, to target: PathBytes) throws(LayerError) {
        let (directory, name) = try parts(path)
        try attempt("make the link", path) { () throws(SystemCallError) in
            let parent = try directory.open([.pathOnly, .directory])
            try name.withName { (name) throws(SystemCallError) in
                try target.withName { (target) throws(SystemCallError) in
                    try parent.makeSymbolicLink(name, target: target)
                }
            }
        }
    }

    /// Gives the file at `path` one more name, which nothing may have.
    func link(_ path: PathBytes, as name: PathBytes) throws(LayerError) {
        try attempt("link", path) { () throws(SystemCallError) in
            try StoreFiles.withParent(path) { (parent, source) throws(SystemCallError) in
                try StoreFiles.withParent(name) { (directory, name) throws(SystemCallError) in
                    try directory.makeHardLink(name, to: source, in: parent)
                }
            }
        }
    }

    /// Gives a name another owner, links not followed.
    func setOwner(_ path: PathBytes, _ owner: Owner) throws(LayerError) {
        try attempt("change the owner of", path) { () throws(SystemCallError) in
            try StoreFiles.withParent(path) { (parent, name) throws(SystemCallError) in
                try parent.setOwner(name, uid: owner.uid, gid: owner.gid)
            }
        }
    }

    /// Removes one name that is no directory; an absent one is fine.
    func unlink(_ path: PathBytes) throws(LayerError) {
        do throws(SystemCallError) {
            try StoreFiles.withParent(path) { (parent, name) throws(SystemCallError) in try parent.unlink(name) }
        } catch {
            guard error.errno != ENOENT else { return }
            throw LayerError(error, "remove", path: path)
        }
    }

    /// Removes an empty directory; an absent one is fine.
    func removeDirectory(_ path: PathBytes) throws(LayerError) {
        do throws(SystemCallError) {
            try StoreFiles.withParent(path) { (parent, name) throws(SystemCallError) in try parent.removeDirectory(name)
            }
        } catch {
            guard error.errno != ENOENT else { return }
            throw LayerError(error, "remove", path: path)
        }
    }

    /// Renames `path` to `target`, which must not exist.
    func move(_ path: PathBytes, to target: PathBytes) throws(LayerError) {
        try attempt("rename", path) { () throws(SystemCallError) in
            try StoreFiles.withParent(path) { (parent, name) throws(SystemCallError) in
                try StoreFiles.withParent(target) { (targetParent, targetName) throws(SystemCallError) in
                    try parent.rename(name, to: targetName, in: targetParent, exclusive: true)
                }
            }
        }
    }

    /// Renames `path` to `target`, which is replaced; by a directory only if it is an empty one.
    func move(_ path: PathBytes, over target: PathBytes) throws(LayerError) {
        try attempt("rename", path) { () throws(SystemCallError) in
            try StoreFiles.withParent(path) { (parent, name) throws(SystemCallError) in
                try StoreFiles.withParent(target) { (targetParent, targetName) throws(SystemCallError) in
                    try parent.rename(name, to: targetName, in: targetParent)
                }
            }
        }
    }

    /// Swaps what two paths name, in one step. `.unsupported` where the kernel, or a filter, has no renameat2.
    func exchange(_ path: PathBytes, with target: PathBytes) throws(LayerError) {
        try attempt("swap", path) { () throws(SystemCallError) in
            try StoreFiles.withParent(path) { (parent, name) throws(SystemCallError) in
                try StoreFiles.withParent(target) { (targetParent, targetName) throws(SystemCallError) in
                    try parent.exchange(name, with: targetName, in: targetParent)
                }
            }
        }
    }

    /// Puts the names in a directory on disk.
    func sync(_ directory: PathBytes) throws(LayerError) {
        try attempt("sync", directory) { () throws(SystemCallError) in
            try directory.open([.readOnly, .directory]).sync()
        }
    }

    private func parts(_ path: PathBytes) throws(LayerError) -> (directory: PathBytes, name: PathBytes) {
        guard let parts = path.splitLast() else {
            throw LayerError(.invalidArgument, "use the path", path: path, cause: .reason("it has no last component"))
        }
        return parts
    }
}
