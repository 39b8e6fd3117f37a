internal import CLinux
import Glibc
internal import LayerModel

/// Resolves a path one component at a time, for kernels before 5.6 and containers whose seccomp filter refuses
/// openat2(2).
///
/// Every component is opened by itself and no link is followed by the kernel: link texts are resolved here, and `..`
/// goes back to the directory that was walked through, so that nobody who renames meanwhile can lead the walk out.
/// Costs two calls a component; a path that may not cross mounts costs three more.
struct ComponentWalk {
    /// The directories walked through, the outermost first.
    private var levels: [SharedDescriptor]
    /// What is still to be walked, the next component last.
    private var waiting: [[UInt8]] = []
    private var linksFollowed = 0
    private let resolve: ResolveFlags
    /// The mount that may not be left; nil where any may.
    private let mount: [UInt8]?

    /// The kernel's own limit, see path_resolution(7).
    private static let mostLinks = 40
    private static let slash = UInt8(ascii: "/")

    /// Whether the kernel refuses openat2(2) altogether; asked when it has failed.
    static let isNeeded: Bool = {
        let here = NamePointer(".")
        // Reason: the name is a constant. 0o10000000 is O_PATH.
        let result = unsafe ldl_openat2(-100, here.address, 0o10000000, 0, 0)
        if result >= 0 { _ = ldl_close(result) }
        return result == -38 || result == -1
    }()

    /// Opens `path` beneath `directory` as openat2(2) would.
    static func open(
        _ path: borrowing NamePointer, in directory: borrowing OwnedDescriptor, _ flags: OpenFlags,
        _ resolve: ResolveFlags, mode: UInt32
    ) throws(SystemCallError) -> OwnedDescriptor {
        // Answering from memory only is a hint, and every caller knows what to do without.
        if resolve.contains(.cached) { throw Self.failed(11) }
        var walk = try ComponentWalk(directory, resolve)
        try walk.push(path.copied())
        return try walk.open(flags, mode: mode)
    }

    private init(_ root: borrowing OwnedDescriptor, _ resolve: ResolveFlags) throws(SystemCallError) {
        self.resolve = resolve
        levels = [SharedDescriptor(try root.duplicate())]
        mount = resolve.contains(.noCrossing) ? try Self.mount(of: root) : nil
    }

    private mutating func open(_ flags: OpenFlags, mode: UInt32) throws(SystemCallError) -> OwnedDescriptor {
        while let name = waiting.popLast() {
            let isLast = waiting.isEmpty
            switch name {
            case [UInt8(ascii: ".")]: break
            case [UInt8(ascii: "."), UInt8(ascii: ".")]: try goUp()
            default:
                if isLast, let opened = try openLast(PathBytes(name), flags, mode: mode) { return opened }
                if !isLast { try enter(PathBytes(name)) }
            }
        }
        return try levels[levels.count - 1].descriptor.open(NamePointer("."), flags.subtracting(.noFollow), mode: mode)
    }

    private mutating func push(_ path: [UInt8]) throws(SystemCallError) {
        if path.isEmpty { throw Self.failed(2) }
        if path.first == Self.slash {
            guard !resolve.contains(.beneath) else { throw Self.failed(18) }
            guard resolve.contains(.inRoot) else { throw Self.failed(38) }
            levels.removeSubrange(1...)
        }
        // A path that ends with a slash goes on with what the last component leads to.
        if path.last == Self.slash { waiting.append([UInt8(ascii: ".")]) }
        waiting += path.split(separator: Self.slash).reversed().map { Array($0) }
    }

    private mutating func goUp() throws(SystemCallError) {
        if levels.count > 1 {
            levels.removeLast()
        } else if resolve.contains(.beneath) {
            throw Self.failed(18)
        } else if !resolve.contains(.inRoot) {
            // Nothing opens such a path without a root, so it is not worth following it.
            throw Self.failed(38)
        }
    }

    /// Goes into a component that others follow.
    private mutating func enter(_ name: PathBytes) throws(SystemCallError) {
        let opened = SharedDescriptor(try look(at: name))
        switch try opened.descriptor.metadata().kind {
        case .directory: levels.append(opened)
        case .symbolicLink: try follow(name)
        default: throw Self.failed(20)
        }
    }

    /// Opens the last component; nil where it is a link that leads on.
    private mutating func openLast(
        _ name: PathBytes, _ flags: OpenFlags, mode: UInt32
    ) throws(SystemCallError) -> OwnedDescriptor? {
        let above = levels[levels.count - 1]
        do throws(SystemCallError) {
            if mount != nil { _ = try look(at: name) }
            let opened = try name.withName { (name) throws(SystemCallError) in
                try above.descriptor.open(name, flags.union(.noFollow), mode: mode)
            }
            if flags.contains(.noFollow) || !flags.contains(.pathOnly) { return opened }
            if try opened.metadata().kind != .symbolicLink { return opened }
        } catch {
            // ENOENT of the look: it may be made. ELOOP and ENOTDIR: a link stands there.
            if error.errno == ENOENT, mount != nil, flags.contains(.create) {
                return try name.withName { (name) throws(SystemCallError) in
                    try above.descriptor.open(name, flags.union(.noFollow), mode: mode)
                }
            }
            guard error.errno == ELOOP || error.errno == ENOTDIR, !flags.contains(.noFollow) else { throw error }
            let metadata = try name.withName { (name) throws(SystemCallError) in try above.descriptor.metadata(name) }
            guard metadata.kind == .symbolicLink else { throw error }
        }
        try follow(name)
        return nil
    }

    private func look(at name: PathBytes) throws(SystemCallError) -> OwnedDescriptor {
        let above = levels[levels.count - 1]
        let opened = try name.withName { (name) throws(SystemCallError) in
            try above.descriptor.open(name, [.pathOnly, .noFollow])
        }
        if let mount, try Self.mount(of: opened) != mount { throw Self.failed(18) }
        return opened
    }

    private mutating func follow(_ name: PathBytes) throws(SystemCallError) {
        linksFollowed += 1
        guard !resolve.contains(.noSymlinks), linksFollowed <= Self.mostLinks else { throw Self.failed(40) }
        let above = levels[levels.count - 1]
        let slab = Slab(capacity: 4096)
        let count = try name.withName { (name) throws(SystemCallError) in
            try above.descriptor.readLink(name, into: slab, 0..<slab.capacity)
        }
        try push(slab.span(0..<count).copied())
    }

    /// What identifies the mount that a descriptor is on, from proc_pid_fdinfo(5). ENOSYS where there is no /proc.
    static func mount(of descriptor: borrowing OwnedDescriptor) throws(SystemCallError) -> [UInt8] {
        let slab = Slab(capacity: 4096)
        let path = PathBytes("/proc/self/fdinfo/\(descriptor.number)")
        let count: Int
        do throws(SystemCallError) { count = try path.open(.readOnly).read(into: slab, 0..<slab.capacity) } catch {
            throw failed(38)
        }
        let key = Array("mnt_id:".utf8)
        for line in slab.span(0..<count).copied().split(separator: UInt8(ascii: "\n")) where line.starts(with: key) {
            return Array(line.dropFirst(key.count))
        }
        throw failed(38)
    }

    private static func failed(_ errno: Int32) -> SystemCallError { SystemCallError("openat2", errno: errno) }
}
