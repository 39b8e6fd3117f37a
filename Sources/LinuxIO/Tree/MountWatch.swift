internal import CLinux
import Glibc
import LayerModel

/// Knows what is mounted below one directory, as the calling thread's mount namespace has it, and reads the table again
/// only after something was mounted or unmounted: each question costs one poll(2).
///
/// It reads /proc/self/mountinfo, whose paths are those of the time when they are read. So it serves to refuse early;
/// what must never enter a mount opens with `ResolveFlags.noCrossing` as well. Where there is no /proc it knows of no
/// mounts.
struct MountWatch: ~Copyable {
    /// The directory, absolute, as the kernel names it; empty where it has no name here.
    private let top: [UInt8]
    private var table: OwnedDescriptor?
    private var isRead = false
    private var points: [PathBytes] = []

    private static let slash = UInt8(ascii: "/")

    init(below directory: borrowing OwnedDescriptor) {
        top = kernelPath(of: directory)?.bytes ?? []
    }

    /// A mount point below `tree`, which lies below the directory or is it; nil where there is none.
    ///
    /// What the table says of a path is believed only if the path leads into another mount: a mount that lies hidden
    /// beneath a later one has a path, too.
    mutating func mountPoint(below tree: borrowing OwnedDescriptor) -> PathBytes? {
        update()
        guard !points.isEmpty, let path = kernelPath(of: tree)?.bytes else { return nil }
        for point in points where point.bytes.count > path.count && Self.lies(point.bytes, below: path) {
            let inside = PathBytes(Array(point.bytes.dropFirst(path.last == Self.slash ? path.count : path.count + 1)))
            do throws(SystemCallError) {
                _ = try inside.withName { (inside) throws(SystemCallError) in
                    try tree.open(inside, [.pathOnly, .noFollow], resolve: [.noSymlinks, .beneath, .noCrossing])
                }
            } catch {
                if error.errno == EXDEV { return point }
            }
        }
        return nil
    }

    /// The mount point below the directory that `tree` lies at or below; nil where it is on the mount of `directory`, which
    /// is the directory itself.
    mutating func mountPoint(
        holding tree: borrowing OwnedDescriptor, apartFrom directory: borrowing OwnedDescriptor
    ) -> PathBytes? {
        update()
        guard !points.isEmpty, let path = kernelPath(of: tree)?.bytes else { return nil }
        let above = points.filter { Self.lies(path, below: $0.bytes) }
        guard let nearest = above.max(by: { $0.bytes.count < $1.bytes.count }) else { return nil }
        // A mount that lies hidden beneath a later one has a path, too.
        let isOwn = (try? ComponentWalk.mount(of: tree)) == (try? ComponentWalk.mount(of: directory))
        return isOwn ? nil : nearest
    }

    private mutating func update() {
        guard !top.isEmpty else { return }
        if isRead, !hasChanged() { return }
        isRead = true
        points = []
        if table == nil { table = try? Self.openTable() }
        switch table {
        // An error leaves what was found: the opens that follow have the last word.
        case .some(let table): try? Self.read(table, below: top, into: &points)
        case .none: break
        }
    }

    private func hasChanged() -> Bool {
        switch table {
        case .some(let table): ldl_poll_priority(table.number) != 0
        case .none: false
        }
    }

    private static func read(
        _ table: borrowing OwnedDescriptor, below top: [UInt8], into points: inout [PathBytes]
    ) throws(SystemCallError) {
        _ = try table.seek(0, .start)
        let slab = Slab(capacity: 64 << 10)
        var line: [UInt8] = []
        while true {
            let count = try table.read(into: slab, 0..<slab.capacity)
            if count == 0 { return }
            let text = slab.span(0..<count)
            for index in 0..<count {
                if text[index] != UInt8(ascii: "\n") {
                    line.append(text[index])
                    continue
                }
                if let point = mountPoint(line), lies(point, below: top), point != top {
                    points.append(PathBytes(point))
                }
                line.removeAll(keepingCapacity: true)
            }
        }
    }

    private static func openTable() throws(SystemCallError) -> OwnedDescriptor {
        do throws(SystemCallError) {
            return try OwnedDescriptor.open(NamePointer("/proc/thread-self/mountinfo"), .readOnly)
        } catch {
            // Before Linux 3.17 there is no thread-self.
            guard error.errno == ENOENT else { throw error }
            return try OwnedDescriptor.open(NamePointer("/proc/self/mountinfo"), .readOnly)
        }
    }

    /// The fifth field of a line, see proc_pid_mountinfo(5); nil where there are not so many.
    static func mountPoint(_ line: [UInt8]) -> [UInt8]? {
        var spaces = 0
        var point: [UInt8] = []
        var index = 0
        while index < line.count, spaces < 5 {
            let byte = line[index]
            index += 1
            if byte == UInt8(ascii: " ") {
                spaces += 1
            } else if spaces == 4 {
                // `\040` and the like stand for space, tab, newline, backslash and number sign.
                if byte == UInt8(ascii: "\\"), index + 3 <= line.count, let value = octal(line[index..<index + 3]) {
                    point.append(value)
                    index += 3
                } else {
                    point.append(byte)
                }
            }
        }
        return spaces == 5 ? point : nil
    }

    private static func octal(_ digits: ArraySlice<UInt8>) -> UInt8? {
        var value = 0
        for digit in digits {
            guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "7") else { return nil }
            value = value << 3 | Int(digit - UInt8(ascii: "0"))
        }
        return UInt8(exactly: value)
    }

    /// Whether `path` is `top` or lies below it.
    private static func lies(_ path: [UInt8], below top: [UInt8]) -> Bool {
        if top == [slash] { return true }
        return path.starts(with: top) && (path.count == top.count || path[top.count] == slash)
    }
}

/// The kernel's name of an open directory; nil where it has none below this process's root, or without /proc.
func kernelPath(of directory: borrowing OwnedDescriptor) -> PathBytes? {
    let link = PathBytes("/proc/self/fd/\(directory.number)")
    let text = Slab(capacity: 4096 + 64)
    let count = try? link.withName { (link) throws(SystemCallError) in
        try directory.readLink(link, into: text, 0..<text.capacity)
    }
    // What lies outside begins with "(unreachable)"; a text that fills the buffer may be cut.
    guard let count, count > 0, count < text.capacity, text.span(0..<count)[0] == UInt8(ascii: "/") else { return nil }
    return PathBytes(text.span(0..<count).copied())
}
