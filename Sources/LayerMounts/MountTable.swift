internal import CLinux
public import LayerModel
internal import LinuxIO

/// One mount, as a line of /proc/self/mountinfo tells it; see proc(5).
public struct MountEntry: Sendable, Equatable {
    public var id: UInt32
    public var parent: UInt32
    /// The device number that stat(2) gives files on it.
    public var major: UInt32
    public var minor: UInt32
    /// Which directory of the file system is mounted.
    public var root: PathBytes
    public var mountPoint: PathBytes
    /// The type, with a subtype behind a dot: `ext4`, `fuse.fuse-overlayfs`.
    public var fileSystem: String
    public var source: PathBytes
    /// Options of this mount: `rw,nosuid`.
    public var options: PathBytes
    /// Options of the file system.
    public var superOptions: PathBytes
}

/// The mounts of the calling thread's mount namespace, in the kernel's order: a mount comes after the one it lies on.
public struct MountTable: Sendable {
    public var entries: [MountEntry]

    public init(_ entries: [MountEntry]) { self.entries = entries }

    /// Reads the table.
    ///
    /// Throws `.io` where /proc is not mounted or a line cannot be understood.
    public static func read() throws(LayerError) -> MountTable {
        let path = PathBytes("/proc/thread-self/mountinfo")
        let operation = "read the mount table"
        let text: [UInt8]
        do {
            text = try contents(of: path, operation)
        } catch  where error.code == .notFound {
            // Before Linux 3.17 there is no thread-self.
            text = try contents(of: PathBytes("/proc/self/mountinfo"), operation)
        }
        guard let table = MountTable(parsing: text) else {
            throw LayerError(.io, operation, path: path, cause: .reason("a line is not as proc(5) says"))
        }
        return table
    }

    /// The mounts in the text of a mountinfo file; nil where a line is malformed.
    public init?(parsing text: [UInt8]) {
        entries = []
        for line in text.split(separator: UInt8(ascii: "\n")) {
            guard let entry = MountEntry(line: line) else { return nil }
            entries.append(entry)
        }
    }

    /// The mounts at `path` or below it; `path` is absolute, without links, `.` and `..`.
    public func entries(atOrBelow path: PathBytes) -> [MountEntry] {
        entries.filter { $0.mountPoint.isAtOrBelow(path) }
    }

    /// Reads the table for the mounts at `directory` or below it, wherever links lead on the way to it; none where there is no
    /// such directory.
    public static func mounts(atOrBelow directory: PathBytes) throws(LayerError) -> [MountEntry] {
        do {
            return try read().entries(atOrBelow: directory.resolvedParent())
        } catch  where error.saysNothingThere {
            return []
        }
    }

    /// Throws `inUse` where anything is mounted below `point`: it would go along with what is unmounted there.
    public static func requireNothing(below point: PathBytes, _ operation: String) throws(LayerError) {
        let entries = try mounts(atOrBelow: point)
        guard !entries.isEmpty else { return }
        let own = try point.resolvedParent()
        guard let other = entries.first(where: { $0.mountPoint != own }) else { return }
        throw LayerError(
            .inUse, operation, path: point, cause: .reason("something is mounted in it, at \(other.mountPoint)"),
            hint: "unmount that first")
    }

    /// What is to be seen at `path`: the last mount there, or nil where it is no mount point.
    public func top(at path: PathBytes) -> MountEntry? { entries.last { $0.mountPoint == path.trimmed } }
}

extension MountEntry {
    /// Whether nothing can be written through this mount.
    public var isProtected: Bool { has("ro") }
    /// Whether nothing can be written to the file system.
    public var isReadOnly: Bool { Self.list(superOptions, has: "ro") }

    /// Whether the mount has the option `word`.
    func has(_ word: String) -> Bool { Self.list(options, has: word) }

    private static func list(_ options: PathBytes, has word: String) -> Bool {
        options.bytes.split(separator: UInt8(ascii: ",")).contains { $0.elementsEqual(word.utf8) }
    }

    /// `36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/sda1 rw,errors=continue`, with any number of fields
    /// before the dash.
    init?(line: ArraySlice<UInt8>) {
        let fields = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
        guard fields.count >= 9, let dash = fields[6...].firstIndex(of: [UInt8(ascii: "-")]),
            dash + 2 < fields.count, let id = number(fields[0]), let parent = number(fields[1])
        else { return nil }
        let device = fields[2].split(separator: UInt8(ascii: ":"))
        guard device.count == 2, let major = number(device[0]), let minor = number(device[1]) else { return nil }
        self.id = id
        self.parent = parent
        self.major = major
        self.minor = minor
        root = unescaped(fields[3])
        mountPoint = unescaped(fields[4])
        options = unescaped(fields[5])
        fileSystem = String(decoding: unescaped(fields[dash + 1]).bytes, as: UTF8.self)
        source = unescaped(fields[dash + 2])
        superOptions = dash + 3 < fields.count ? unescaped(fields[dash + 3]) : PathBytes([])
    }
}

private func number(_ digits: ArraySlice<UInt8>) -> UInt32? {
    guard digits.allSatisfy({ $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }) else { return nil }
    return UInt32(String(decoding: digits, as: UTF8.self))
}

/// Undoes `\040` and the like, which the kernel writes for space, tab, newline, backslash and number sign.
private func unescaped(_ field: ArraySlice<UInt8>) -> PathBytes {
    guard field.contains(UInt8(ascii: "\\")) else { return PathBytes(Array(field)) }
    var bytes: [UInt8] = []
    var rest = field
    while let first = rest.popFirst() {
        let digits = rest.prefix(3)
        if first == UInt8(ascii: "\\"), digits.count == 3,
            let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 8)
        {
            bytes.append(value)
            rest = rest.dropFirst(3)
        } else {
            bytes.append(first)
        }
    }
    return PathBytes(bytes)
}
