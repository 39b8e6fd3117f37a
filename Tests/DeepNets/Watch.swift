import Glibc

/// Tells whether anyone opened or read files that nobody should, by the kernel's own account.
final class Watch {
    private let descriptor: Int32
    private var names: [Int32: String] = [:]
    private typealias Add = @convention(c) (Int32, UnsafePointer<CChar>, UInt32) -> Int32
    private typealias Make = @convention(c) (Int32) -> Int32

    init() throws {
        guard let make = dlsym(nil, "inotify_init1") else { throw Trouble("inotify_init1 is not in the C library") }
        descriptor = unsafeBitCast(make, to: Make.self)(O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else { throw Trouble.call("inotify_init1", "") }
    }

    deinit { close(descriptor) }

    /// Watches what a path names now, wherever it goes; `name` is what it is called in `events`.
    func add(_ path: String, as name: String) throws {
        guard let add = dlsym(nil, "inotify_add_watch") else {
            throw Trouble("inotify_add_watch is not in the C library")
        }
        // IN_ACCESS, IN_MODIFY, IN_OPEN; not through a link.
        let number = unsafeBitCast(add, to: Add.self)(descriptor, path, 0x1 | 0x2 | 0x20 | 0x0200_0000)
        guard number >= 0 else { throw Trouble.call("inotify_add_watch", path) }
        names[number] = name
    }

    /// What was opened, read or written since the last time, and how often.
    func events() -> [String: Int] {
        var found: [String: Int] = [:]
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 8)
        defer { buffer.deallocate() }
        while true {
            let count = read(descriptor, buffer.baseAddress, buffer.count)
            guard count > 0 else { return found }
            var position = 0
            while position + 16 <= count {
                let number = buffer.load(fromByteOffset: position, as: Int32.self)
                let mask = buffer.load(fromByteOffset: position + 4, as: UInt32.self)
                let what = mask & 1 != 0 ? "read" : mask & 2 != 0 ? "written" : "opened"
                let length = buffer.load(fromByteOffset: position + 12, as: UInt32.self)
                found["\(names[number] ?? "something") was \(what)", default: 0] += 1
                position += 16 + Int(length)
            }
        }
    }
}
