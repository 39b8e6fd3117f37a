import Glibc

/// What went wrong in the nets themselves: no finding about ldiff.
package struct Trouble: Error, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }

    /// A failed call, what it was for, and the present errno.
    static func call(_ name: String, _ what: String) -> Trouble {
        Trouble("\(name) \(what): \(String(cString: strerror(errno)))")
    }
}

/// A name as system calls take it.
typealias Name = [UInt8]

func withCString<Result>(_ name: Name, _ body: (UnsafePointer<CChar>) throws -> Result) rethrows -> Result {
    try (name + [0]).map { CChar(bitPattern: $0) }.withUnsafeBufferPointer { bytes in
        guard let start = bytes.baseAddress else { preconditionFailure("a name has an end") }
        return try body(start)
    }
}

extension String {
    var name: Name { Array(utf8) }
}

/// A name for a message: everything but plain ASCII as `\xNN`.
func shown(_ name: some Sequence<UInt8>) -> String {
    var text = ""
    for byte in name {
        if byte > 0x20, byte < 0x7f, byte != UInt8(ascii: "\\") {
            text.unicodeScalars.append(Unicode.Scalar(byte))
        } else {
            text += "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }
    }
    return brief(text)
}

/// The beginning and the end of a long text.
func brief(_ text: String) -> String {
    text.utf8.count > 240 ? "\(text.prefix(90))...\(text.suffix(120)) (\(text.utf8.count))" : text
}

/// Calls of Glibc that its module does not show to Swift.
enum Libc {
    typealias SetAttribute =
        @convention(c) (UnsafePointer<CChar>, UnsafePointer<CChar>, UnsafeRawPointer?, Int, Int32) -> Int32
    typealias GetAttribute =
        @convention(c) (UnsafePointer<CChar>, UnsafePointer<CChar>, UnsafeMutableRawPointer?, Int) -> Int
    typealias ListAttributes = @convention(c) (UnsafePointer<CChar>, UnsafeMutableRawPointer?, Int) -> Int
    typealias RemoveAttribute = @convention(c) (UnsafePointer<CChar>, UnsafePointer<CChar>) -> Int32
    typealias Rename = @convention(c) (Int32, UnsafePointer<CChar>, Int32, UnsafePointer<CChar>, UInt32) -> Int32
    typealias SyncFileSystem = @convention(c) (Int32) -> Int32
    typealias Allocate = @convention(c) (Int32, Int32, Int, Int) -> Int32
    typealias Find = @convention(c) (UnsafeRawPointer?, Int, UnsafeRawPointer?, Int) -> UnsafeMutableRawPointer?

    static let setAttribute = function("lsetxattr", SetAttribute.self)
    static let getAttribute = function("lgetxattr", GetAttribute.self)
    static let listAttributes = function("llistxattr", ListAttributes.self)
    static let removeAttribute = function("lremovexattr", RemoveAttribute.self)
    static let rename = function("renameat2", Rename.self)
    static let syncFileSystem = function("syncfs", SyncFileSystem.self)
    static let allocate = function("fallocate64", Allocate.self)

    static let find = function("memmem", Find.self)

    /// Makes a directory the root of this process.
    static func changeRoot(_ path: String) throws {
        typealias Change = @convention(c) (UnsafePointer<CChar>) -> Int32
        guard function("chroot", Change.self)(path) == 0, chdir("/") == 0 else { throw Trouble.call("chroot", path) }
    }

    static let exchange: UInt32 = 2
    static let noReplace: UInt32 = 1

    private static func function<Function>(_ name: String, _ type: Function.Type) -> Function {
        guard let found = dlsym(nil, name) else { preconditionFailure("\(name) is not in the C library") }
        return unsafeBitCast(found, to: type)
    }
}

/// An open directory; everything in it is named relative to it, so that no path is too long.
final class Folder {
    let descriptor: Int32

    init(_ path: String) throws {
        descriptor = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Trouble.call("open", path) }
    }

    private init(adopting descriptor: Int32) { self.descriptor = descriptor }
    deinit { close(descriptor) }

    func folder(_ name: Name) throws -> Folder {
        let found = withCString(name) { openat(descriptor, $0, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) }
        guard found >= 0 else { throw Trouble.call("open directory", shown(name)) }
        return Folder(adopting: found)
    }

    /// The path by which attribute calls reach a name here; it stays short at any depth.
    func path(_ name: Name) -> Name { Name("/proc/self/fd/\(descriptor)/".utf8) + name }

    /// The names here, sorted by their bytes.
    func names() throws -> [Name] {
        let again = openat(descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard again >= 0, let stream = fdopendir(again) else { throw Trouble.call("fdopendir", "") }
        defer { closedir(stream) }
        var found: [Name] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in Name(bytes.prefix { $0 != 0 }) }
            if name != [46], name != [46, 46] { found.append(name) }
        }
        return found.sorted { $0.lexicographicallyPrecedes($1) }
    }

    /// What a name is; nil where it is not there.
    func status(_ name: Name) -> stat? {
        var status = stat()
        return withCString(name) { fstatat(descriptor, $0, &status, AT_SYMLINK_NOFOLLOW) } == 0 ? status : nil
    }

    func linkText(_ name: Name) throws -> Name {
        var text = Name(repeating: 0, count: 5000)
        let count = withCString(name) { name in
            text.withUnsafeMutableBufferPointer { bytes in
                bytes.withMemoryRebound(to: CChar.self) {
                    $0.baseAddress.map { readlinkat(descriptor, name, $0, 5000) } ?? -1
                }
            }
        }
        guard count >= 0 else { throw Trouble.call("readlink", shown(name)) }
        return Name(text.prefix(count))
    }

    /// The attributes of a name, sorted by their names' bytes.
    func attributes(_ name: Name) throws -> [(name: Name, value: Name)] {
        var list = Name(repeating: 0, count: 65536)
        let path = path(name)
        let length = withCString(path) { path in
            list.withUnsafeMutableBytes { Libc.listAttributes(path, $0.baseAddress, $0.count) }
        }
        if length < 0, errno == EOPNOTSUPP { return [] }
        guard length >= 0 else { throw Trouble.call("llistxattr", shown(name)) }
        let labels = list.prefix(length).split(separator: 0).map { Name($0) }
        return try labels.sorted { $0.lexicographicallyPrecedes($1) }.compactMap { label in
            var value = Name(repeating: 0, count: 65536)
            let count = withCString(path) { path in
                withCString(label) { label in
                    value.withUnsafeMutableBytes { Libc.getAttribute(path, label, $0.baseAddress, $0.count) }
                }
            }
            // A capability that is none cannot be read, and an attribute may go meanwhile.
            if count < 0, errno == EINVAL || errno == ENODATA { return nil }
            guard count >= 0 else { throw Trouble.call("lgetxattr \(shown(label))", shown(name)) }
            return (label, Name(value.prefix(count)))
        }
    }

    /// Sets an attribute; false where the file system refuses it.
    @discardableResult
    func set(_ label: Name, _ value: Name, on name: Name) -> Bool {
        withCString(path(name)) { path in
            withCString(label) { label in
                value.withUnsafeBytes { Libc.setAttribute(path, label, $0.baseAddress, $0.count, 0) }
            }
        } == 0
    }

    /// Opens a file here for reading, whatever it is by then.
    func open(_ name: Name, _ flags: Int32 = O_RDONLY | O_NOFOLLOW | O_NONBLOCK, _ mode: mode_t = 0) -> Int32 {
        withCString(name) { openat(descriptor, $0, flags | O_CLOEXEC, mode) }
    }
}

/// Writes all bytes at a place of a file, or where it stands.
func writeAll(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32, at offset: Int? = nil) throws {
    var done = 0
    while done < bytes.count {
        let rest = UnsafeRawBufferPointer(rebasing: bytes[done...])
        let count =
            offset.map { pwrite(descriptor, rest.baseAddress, rest.count, $0 + done) }
            ?? write(descriptor, rest.baseAddress, rest.count)
        guard count > 0 else { throw Trouble.call("write", "\(rest.count) bytes") }
        done += count
    }
}

/// A small file's bytes.
func readSmall(_ path: String) throws -> Name {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw Trouble.call("open", path) }
    defer { close(descriptor) }
    var bytes: Name = []
    var buffer = Name(repeating: 0, count: 1 << 16)
    while true {
        let count = read(descriptor, &buffer, buffer.count)
        guard count >= 0 else { throw Trouble.call("read", path) }
        if count == 0 { return bytes }
        bytes += buffer.prefix(count)
    }
}

func writeSmall(_ path: String, _ bytes: Name) throws {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw Trouble.call("open", path) }
    defer { close(descriptor) }
    try bytes.withUnsafeBytes { try writeAll($0, to: descriptor) }
}

/// Seconds of a clock that nobody sets.
func seconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}
