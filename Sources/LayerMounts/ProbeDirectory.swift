internal import Glibc
internal import LayerModel
internal import LinuxIO

/// A directory in which something is tried out; unmounted and gone afterwards, whatever happened.
struct ProbeDirectory: ~Copyable {
    let path: PathBytes
    private let descriptor: OwnedDescriptor

    /// Makes `PREFIX` and random letters in `home`.
    init(_ prefix: String, in home: PathBytes) throws(LayerError) {
        let operation = "try out mounts in"
        let parent = try naming(operation, home) { () throws(SystemCallError) in
            try OwnedDescriptor.open(Terminated(home).name, [.readOnly, .directory])
        }
        let name = prefix + String(UInt64.random(in: .min ... .max), radix: 36)
        let path = home.appending(name)
        let descriptor = try naming(operation, path) { () throws(SystemCallError) in
            try parent.makeDirectory(Terminated(name).name, mode: 0o700)
            return try parent.open(Terminated(name).name, [.readOnly, .directory, .noFollow])
        }
        self.init(path, descriptor)
    }

    private init(_ path: PathBytes, _ descriptor: consuming OwnedDescriptor) {
        self.path = path
        self.descriptor = descriptor
    }

    deinit {
        try? KernelMount.unmountAll(atOrBelow: path)
        try? TreeRemoval.remove(path)
    }

    func appending(_ name: String) -> PathBytes { path.appending(name) }

    func make(_ names: String..., mode: UInt32 = 0o755) throws(LayerError) {
        for name in names {
            try naming("make", path.appending(name)) { () throws(SystemCallError) in
                try descriptor.makeDirectory(Terminated(name).name, mode: mode)
            }
        }
    }

    func write(_ name: String, mode: UInt32) throws(LayerError) {
        try naming("make", path.appending(name)) { () throws(SystemCallError) in
            let file = try descriptor.open(
                Terminated(name).name, [.writeOnly, .create, .exclusive], mode: mode)
            try file.setMode(mode)
        }
    }

    func setMode(_ name: String, _ mode: UInt32) throws(LayerError) {
        try naming("change the mode of", path.appending(name)) { () throws(SystemCallError) in
            try descriptor.open(Terminated(name).name, .readOnly).setMode(mode)
        }
    }

    func setAttribute(_ attribute: String, _ value: String, of name: String) throws(LayerError) {
        try naming("mark", path.appending(name)) { () throws(SystemCallError) in
            let file = try descriptor.open(Terminated(name).name, .readOnly)
            try file.setAttribute(Terminated(attribute).name, Array(value.utf8).rawBytes)
        }
    }

    /// The value of an attribute; nil where it is not set or cannot be.
    func attribute(_ attribute: String, of name: String) throws(LayerError) -> [UInt8]? {
        try naming("read a mark of", path.appending(name)) { () throws(SystemCallError) in
            let file = try descriptor.open(Terminated(name).name, .readOnly)
            var reader = AttributeReader()
            guard try reader.read(Terminated(attribute).name, of: file) != nil else { return nil }
            return reader.lastValue.copied()
        }
    }

    /// Renames inside the directory; the errno where it fails.
    func rename(_ name: String, to target: String) -> Int32? {
        do {
            try descriptor.rename(Terminated(name).name, to: Terminated(target).name, in: descriptor)
            return nil
        } catch {
            return error.errno
        }
    }
}

/// All names in a directory.
func names(in directory: borrowing OwnedDescriptor) throws(SystemCallError) -> [PathBytes] {
    var reader = DirectoryReader()
    var names: [PathBytes] = []
    while let entry = try reader.next(of: directory) { names.append(PathBytes(reader.name(of: entry).copied())) }
    return names
}
