import Glibc
package import LayerModel
import LinuxIO

/// Where a layer is written: a descriptor, or a file that appears under its name only when it is complete.
///
/// An output that is dropped before `commit` leaves nothing behind, and what was there before stays.
package final class OutputFile {
    /// What errors call this output.
    package let displayPath: PathBytes
    let descriptor: OwnedDescriptor
    private let pending: PendingFile?

    private init(_ descriptor: consuming OwnedDescriptor, pending: PendingFile?, displayPath: PathBytes) {
        self.descriptor = descriptor
        self.pending = pending
        self.displayPath = displayPath
    }

    /// Writes to standard output.
    package static func standardOutput() throws(LayerError) -> OutputFile {
        try descriptor(1, called: standardOutputName)
    }

    /// What errors call standard output.
    package static let standardOutputName = PathBytes("standard output")

    /// Writes to an open descriptor from where it stands; it stays its owner's. Errors call it `path`.
    package static func descriptor(_ number: Int32, called path: PathBytes) throws(LayerError) -> OutputFile {
        let given = OwnedDescriptor(adopting: number)
        let copy = try? given.duplicate()
        // It stays open: this code does not own it.
        _ = given.relinquish()
        guard let copy else {
            throw LayerError(.cannotCreate, "write", path: path, cause: .reason("it is closed"))
        }
        copy.widenPipe(to: 1 << 20)
        return OutputFile(copy, pending: nil, displayPath: path)
    }

    /// Writes to the file at `path`, which is replaced when `commit` is called and not before.
    ///
    /// A new file gets `mode` less the process's umask, one that replaces another keeps the other's permissions. A
    /// symbolic link is followed; pipes and devices are written to as they are. Throws `cannotCreate`.
    package static func file(at path: PathBytes, mode: UInt32 = 0o666) throws(LayerError) -> OutputFile {
        let existing = try attempt("create", path, as: .cannotCreate) { () throws(SystemCallError) in
            try ExistingFile.find(path)
        }
        switch existing?.metadata.kind {
        case .directory:
            throw LayerError(
                .cannotCreate, "create", path: path, cause: .reason("it is a directory"), hint: "name a file in it")
        case nil, .regular:
            let target = existing?.path ?? path
            guard let (directory, name) = target.splitLast(), target.bytes.last != UInt8(ascii: "/") else {
                throw LayerError(
                    .cannotCreate, "create", path: path, cause: .reason("it names a directory"),
                    hint: "name a file in it")
            }
            let pending = try attempt("create", path, as: .cannotCreate) { () throws(SystemCallError) in
                try PendingFile(directory: directory, name: name, mode: mode)
            }
            let opened = try attempt("create", path, as: .cannotCreate) { () throws(SystemCallError) in
                let opened = try pending.open()
                if let existing { try opened.setMode(existing.metadata.mode & 0o7777) }
                return opened
            }
            return OutputFile(opened, pending: pending, displayPath: path)
        default:
            let opened = try attempt("open", path, as: .cannotCreate) { () throws(SystemCallError) in
                try path.open(.writeOnly)
            }
            opened.widenPipe(to: 1 << 20)
            return OutputFile(opened, pending: nil, displayPath: path)
        }
    }

    /// Forgets what was written, so that it can be written anew. Throws `unsupported` for what is not a new file.
    func restart() throws(LayerError) {
        guard pending != nil else {
            throw LayerError(
                .unsupported, "write", path: displayPath, cause: .reason("it can be written only once"),
                hint: "name a file that is to be created")
        }
        try attempt("write", displayPath) { () throws(SystemCallError) in
            try descriptor.truncate(to: 0)
            _ = try descriptor.seek(0, .start)
        }
    }

    /// A descriptor of a new file, with which any place of it can be written and read again; nil for what is written from the
    /// beginning to the end.
    func seekable() throws(LayerError) -> OwnedDescriptor? {
        guard pending != nil else { return nil }
        return try attempt("open again", displayPath) { () throws(SystemCallError) in
            try PathBytes("/proc/self/fd/\(descriptor.number)").open(.readWrite)
        }
    }

    /// A file without a name beside this one, which vanishes when it is closed.
    func scratchFile() throws(LayerError) -> OwnedDescriptor {
        try attempt("create a scratch file beside", displayPath, as: .cannotCreate) { () throws(SystemCallError) in
            let directory = pending == nil ? PathBytes("/tmp") : displayPath.splitLast()?.directory ?? PathBytes("/tmp")
            return try directory.withName { (name) throws(SystemCallError) in
                try OwnedDescriptor.open(name, [.unnamed, .readWrite], mode: 0o600)
            }
        }
    }

    /// Waits until what was written is on the disk.
    func sync() throws(LayerError) {
        try attempt("write", displayPath) { () throws(SystemCallError) in try descriptor.sync() }
    }

    /// Gives a file its name: everything was written. Called once, after the last write.
    package func commit() throws(LayerError) {
        guard let pending else { return }
        try attempt("write", displayPath) { () throws(SystemCallError) in
            // What a network file system only reports when a descriptor is closed shows here.
            try descriptor.duplicate().close()
        }
        try attempt("create", displayPath, as: .cannotCreate) { () throws(SystemCallError) in
            try pending.commit(descriptor)
        }
    }
}

/// What an output's path already leads to.
private struct ExistingFile {
    var metadata: EntryMetadata
    /// Its own path, no symbolic link.
    var path: PathBytes

    /// What `path` leads to, or nil where nothing has that name. A link that leads nowhere is an error.
    static func find(_ path: PathBytes) throws(SystemCallError) -> ExistingFile? {
        guard let opened = try open(path) else { return nil }
        let metadata = try opened.metadata()
        let isLink = try path.open([.pathOnly, .noFollow]).metadata().kind == .symbolicLink
        guard isLink, metadata.kind == .regular else { return ExistingFile(metadata: metadata, path: path) }
        let buffer = Slab(capacity: 4096)
        let length = try PathBytes("/proc/self/fd/\(opened.number)").withName { (name) throws(SystemCallError) in
            try opened.readLink(name, into: buffer, 0..<buffer.capacity)
        }
        return ExistingFile(metadata: metadata, path: PathBytes(buffer.span(0..<length).copied()))
    }

    private static func open(_ path: PathBytes) throws(SystemCallError) -> OwnedDescriptor? {
        do throws(SystemCallError) {
            return try path.open(.pathOnly)
        } catch {
            if error.errno == ENOENT, !isName(path) { return nil }
            throw error
        }
    }

    private static func isName(_ path: PathBytes) -> Bool {
        do throws(SystemCallError) {
            _ = try path.open([.pathOnly, .noFollow])
            return true
        } catch {
            return false
        }
    }
}

extension OutputFile {
    /// Writes a short text as it is.
    package func writeText(_ text: String) throws(LayerError) { try write(Array(text.utf8)) }

    /// Writes a few bytes as they are.
    package func write(_ bytes: [UInt8]) throws(LayerError) {
        var sink = OutputSink(self)
        try sink.write(bytes.rawBytes)
        try sink.finish()
    }
}
