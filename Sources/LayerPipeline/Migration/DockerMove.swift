import Glibc
import LayerDrivers
package import LayerModel
import LinuxIO

/// Gives Docker's records of images and containers to another driver, so that its daemon finds its layers in their new store.
///
/// Docker keeps the records of images and layers in `image/DRIVER` of its directory, and the driver's name in each container's
/// `config.v2.json`. The first are copied; of the others, what was there is kept beside as `config.v2.json.DRIVER`.
package final class DockerMove: Sendable {
    private let plan: DockerMovePlan
    private let locks: DockerLocks

    /// Keeps Docker's daemon out, and looks once more, before anything is written.
    ///
    /// Throws what the plan throws, and `inUse` while a daemon runs.
    package init(_ plan: DockerMovePlan) throws(LayerError) {
        self.plan = plan
        locks = try DockerLocks(plan.root, "move Docker's records")
        try plan.check()
    }

    /// Copies the records, and names the new driver in those of containers. Returns how many containers those were.
    package func run() throws(LayerError) -> Int {
        let records = try plan.containers()
        try sweepCopies()
        if try !plan.hasSameLayers() { try copyImages() }
        for (path, record) in records {
            try keep(record.original, of: path)
            try Self.write(record.moved, to: path, like: path)
        }
        return records.count
    }

    /// Keeps what a container's record was as `config.v2.json.DRIVER`. One of an earlier move stays under a name of its own.
    private func keep(_ original: [UInt8], of path: PathBytes) throws(LayerError) {
        let kept = PathBytes(path.bytes + Array(".\(plan.from.rawValue)".utf8))
        if try DockerMovePlan.metadata(kept) != nil {
            // What a run wrote that was killed before it could change the record itself.
            if try DockerMovePlan.read(kept) == original { return }
            guard let (directory, name) = kept.splitLast() else { return }
            try Self.attempt("keep Docker's record of a container", kept) { () throws(SystemCallError) in
                let parent = try directory.open([.readOnly, .directory])
                try Self.rename(name, to: PathBytes(name.bytes + Array(".before-\(Self.digits())".utf8)), in: parent)
            }
        }
        try Self.write(original, to: kept, like: path)
    }

    /// Sixteen digits that nobody else uses.
    private static func digits() -> String {
        let digits = String(UInt64.random(in: .min ... .max), radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    // MARK: images

    /// How copies are called that are not complete.
    private var partPrefix: String { "\(TemporaryName.prefix)\(plan.to.rawValue)-" }

    /// Copies that a killed run has not finished: our name with sixteen digits behind it, and nothing inside but what records are
    /// made of. The locks keep every other run out.
    private func sweepCopies() throws(LayerError) {
        let (folder, prefix) = (plan.root.appending("image"), Array(partPrefix.utf8))
        for name in try DockerRecords.names(in: folder) where name.bytes.starts(with: prefix) {
            let digits = name.bytes.dropFirst(prefix.count)
            guard digits.count == 16, digits.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) })
            else { continue }
            let copy = folder.appending(name)
            guard try DockerMovePlan.metadata(copy)?.kind == .directory else { continue }
            let known = Set(try DockerRecords.names(in: plan.images(plan.from)))
            guard try DockerRecords.names(in: copy).allSatisfy(known.contains) else { continue }
            try TreeRemoval.remove(copy)
        }
    }

    /// Copied beside and moved to its place, so that the records are there as a whole or not at all. Empty ones that a daemon
    /// has made go out of the way, and are kept.
    private func copyImages() throws(LayerError) {
        let digits = Self.digits()
        let part = PathBytes(partPrefix + digits)
        let target = PathBytes(plan.to.rawValue)
        let folder = plan.root.appending("image")
        do throws(LayerError) {
            try Self.attempt("copy Docker's records", folder) { () throws(SystemCallError) in
                let parent = try folder.open([.pathOnly, .directory])
                try part.withName { (name) throws(SystemCallError) in try parent.makeDirectory(name, mode: 0o700) }
            }
            var options = TreeCopyOptions()
            options.attributes = .all
            options.sourcePath = plan.images(plan.from)
            let (source, copy) = try Self.attempt("copy Docker's records", plan.images(plan.from)) {
                () throws(SystemCallError) in
                (
                    LockedFile(try plan.images(plan.from).open([.readOnly, .directory])),
                    LockedFile(try folder.appending(part).open([.readOnly, .directory]))
                )
            }
            _ = try TreeCopy.copy(source.file, to: copy.file, options: options)
            try Self.attempt("write to disk", folder) { () throws(SystemCallError) in
                try copy.file.syncFileSystem()
                let parent = try folder.open([.readOnly, .directory])
                if try target.withName({ (name) throws(SystemCallError) in try parent.metadataIfPresent(name) }) != nil
                {
                    let old = PathBytes("\(plan.to.rawValue).before-\(digits)")
                    try Self.rename(target, to: old, in: parent)
                }
                try Self.rename(part, to: target, in: parent)
                try parent.sync()
            }
        } catch {
            try? TreeRemoval.remove(folder.appending(part))
            throw error
        }
    }

    // MARK: files

    private static func attempt<Result>(
        _ operation: String, _ path: PathBytes, _ body: () throws(SystemCallError) -> Result
    ) throws(LayerError) -> Result {
        do throws(SystemCallError) { return try body() } catch { throw LayerError(error, operation, path: path) }
    }

    private static func rename(_ name: PathBytes, to target: PathBytes, in parent: borrowing OwnedDescriptor)
        throws(SystemCallError)
    {
        try name.withName { (name) throws(SystemCallError) in
            try target.withName { (target) throws(SystemCallError) in
                try parent.rename(name, to: target, in: parent, exclusive: true)
            }
        }
    }

    /// Puts bytes into a file, in one step and on disk, with the mode and owner of another.
    private static func write(_ bytes: [UInt8], to path: PathBytes, like model: PathBytes) throws(LayerError) {
        guard let (directory, name) = path.splitLast(), let like = try DockerMovePlan.metadata(model) else { return }
        let part = PathBytes(Array(TemporaryName.prefix.utf8) + name.bytes)
        try attempt("write Docker's record of a container", path) { () throws(SystemCallError) in
            let parent = try directory.open([.readOnly, .directory])
            try part.withName { (part) throws(SystemCallError) in
                do throws(SystemCallError) { try parent.unlink(part) } catch {
                    if error.errno != ENOENT { throw error }
                }
                do throws(SystemCallError) {
                    let file = try parent.open(part, [.create, .exclusive, .noFollow, .writeOnly], mode: 0o600)
                    try file.writeAll(bytes.rawBytes)
                    try file.setOwner(uid: like.uid, gid: like.gid)
                    try file.setMode(like.mode & 0o7777)
                    try file.sync()
                    try name.withName { (name) throws(SystemCallError) in
                        try parent.rename(part, to: name, in: parent)
                    }
                } catch {
                    try? parent.unlink(part)
                    throw error
                }
            }
            try parent.sync()
        }
    }
}
