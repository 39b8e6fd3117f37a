import Glibc
import LayerModel
import LayerMounts
import Synchronization

/// A directory shown through a file system of our own (FUSE), read-only, in which each call takes a while: as on a disk far away,
/// that answers many questions at once. What was asked stays in the kernel's memory until it is unmounted, as it would of a disk.
package final class SlowTree: Sendable {
    /// Where it is mounted.
    package let path: String
    private let server: SlowServer
    private let threads: [pthread_t]

    /// Shows `source` at `path`, an existing directory; each call takes so many microseconds.
    package init(_ source: String, at path: String, microseconds: UInt32) throws {
        self.path = path
        let device = open("/dev/fuse", O_RDWR | O_CLOEXEC)
        guard device >= 0 else { throw TestFailure("open /dev/fuse: \(errno)") }
        guard
            mount(
                "slow", path, "fuse.slow", UInt(MS_RDONLY),
                "fd=\(device),rootmode=40000,user_id=0,group_id=0,allow_other") == 0
        else { throw TestFailure("mount a FUSE file system: \(errno)") }
        server = SlowServer(device, source, microseconds)
        var started: [pthread_t] = []
        for _ in 0..<72 {
            var thread = pthread_t()
            let argument = Unmanaged.passRetained(server).toOpaque()
            let result = pthread_create(
                &thread, nil,
                { argument in
                    if let argument { Unmanaged<SlowServer>.fromOpaque(argument).takeRetainedValue().serve() }
                    return nil
                }, argument)
            if result == 0 { started.append(thread) }
        }
        threads = started
    }

    /// Calls answered so far.
    package var calls: Int { server.calls.load(ordering: .relaxed) }
    /// The most that were being answered at one time.
    package var mostAtOnce: Int { server.most.load(ordering: .relaxed) }

    /// Forgets the counts.
    package func restart() {
        server.calls.store(0, ordering: .relaxed)
        server.most.store(0, ordering: .relaxed)
    }

    deinit {
        umount2(path, Int32(MNT_DETACH))
        for thread in threads { pthread_join(thread, nil) }
        close(server.device)
    }
}

/// Answers the kernel's questions: fuse(4), fuse.h.
private final class SlowServer: Sendable {
    let device: Int32
    let calls = Atomic<Int>(0)
    let most = Atomic<Int>(0)
    private let atOnce = Atomic<Int>(0)
    private let microseconds: UInt32
    private let nodes: Mutex<Nodes>

    /// Paths by the number that the kernel knows them by; the root is 1.
    private struct Nodes {
        var paths: [String]
        var numbers: [String: UInt64] = [:]

        mutating func number(_ path: String) -> UInt64 {
            if let number = numbers[path] { return number }
            paths.append(path)
            numbers[path] = UInt64(paths.count)
            return UInt64(paths.count)
        }
    }

    init(_ device: Int32, _ source: String, _ microseconds: UInt32) {
        self.device = device
        self.microseconds = microseconds
        nodes = Mutex(Nodes(paths: [source]))
    }

    /// Seconds for which the kernel need not ask again.
    private static let valid: UInt64 = 600

    func serve() {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
        defer { buffer.deallocate() }
        while true {
            let count = read(device, buffer.baseAddress, buffer.count)
            if count < 0, errno == EINTR || errno == ENOENT || errno == EAGAIN { continue }
            // ENODEV: it is unmounted.
            guard count >= 40 else { return }
            answer(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        }
    }

    private func answer(_ request: UnsafeRawBufferPointer) {
        let operation = request.load(fromByteOffset: 4, as: UInt32.self)
        let unique = request.load(fromByteOffset: 8, as: UInt64.self)
        let node = request.load(fromByteOffset: 16, as: UInt64.self)
        // FORGET, BATCH_FORGET and INTERRUPT have no answer.
        if operation == 2 || operation == 42 || operation == 36 { return }
        if operation != 26 {
            calls.add(1, ordering: .relaxed)
            most.max(atOnce.add(1, ordering: .relaxed).newValue, ordering: .relaxed)
            usleep(microseconds)
            atOnce.subtract(1, ordering: .relaxed)
        }
        let path = nodes.withLock { node >= 1 && node <= $0.paths.count ? $0.paths[Int(node) - 1] : "" }
        var body: [UInt8] = []
        var error: Int32 = 0
        switch operation {
        case 26: body = introduction()
        case 1: error = look("\(path)/\(text(request, 40))", into: &body)
        case 3: error = attributes(path, into: &body)
        case 14, 27: body = [UInt8](repeating: 0, count: 16)
        case 18, 29: break
        case 28: error = names(path, request, into: &body)
        case 15: error = contents(path, request, into: &body)
        case 5: error = target(path, into: &body)
        default: error = ENOSYS
        }
        reply(unique, error, error == 0 ? body : [])
    }

    private func reply(_ unique: UInt64, _ error: Int32, _ body: [UInt8]) {
        var answer: [UInt8] = []
        answer.append(number: UInt32(16 + body.count))
        answer.append(number: UInt32(bitPattern: -error))
        answer.append(number: unique)
        answer += body
        _ = write(device, answer, answer.count)
    }

    /// Version 7.31; many questions about one directory at a time (FUSE_PARALLEL_DIROPS).
    private func introduction() -> [UInt8] {
        var body: [UInt8] = []
        for word in [7, 31, 0, 1 << 18] as [UInt32] { body.append(number: word) }
        for half in [64, 48] as [UInt16] { body.append(number: half) }
        body.append(number: UInt32(4096))
        body.append(number: UInt32(1))
        body += [UInt8](repeating: 0, count: 36)
        return body
    }

    private func look(_ path: String, into body: inout [UInt8]) -> Int32 {
        var status = stat()
        guard lstat(path, &status) == 0 else { return errno }
        let number = nodes.withLock { $0.number(path) }
        for word in [number, 0, Self.valid, Self.valid] { body.append(number: word) }
        body.append(number: UInt64(0))
        body.append(attributes: status)
        return 0
    }

    private func attributes(_ path: String, into body: inout [UInt8]) -> Int32 {
        var status = stat()
        guard lstat(path, &status) == 0 else { return errno }
        for word in [Self.valid, 0] { body.append(number: word) }
        body.append(attributes: status)
        return 0
    }

    private func names(_ path: String, _ request: UnsafeRawBufferPointer, into body: inout [UInt8]) -> Int32 {
        let first = request.load(fromByteOffset: 48, as: UInt64.self)
        let size = Int(request.load(fromByteOffset: 56, as: UInt32.self))
        guard let directory = opendir(path) else { return errno }
        defer { closedir(directory) }
        var position: UInt64 = 0
        while let entry = readdir(directory) {
            position += 1
            guard position > first else { continue }
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            let length = (24 + name.count + 7) / 8 * 8
            guard body.count + length <= size else { break }
            body.append(number: UInt64(entry.pointee.d_ino))
            body.append(number: position)
            body.append(number: UInt32(name.count))
            body.append(number: UInt32(entry.pointee.d_type))
            body += name + [UInt8](repeating: 0, count: length - 24 - name.count)
        }
        return 0
    }

    private func contents(_ path: String, _ request: UnsafeRawBufferPointer, into body: inout [UInt8]) -> Int32 {
        let offset = request.load(fromByteOffset: 48, as: UInt64.self)
        let size = Int(request.load(fromByteOffset: 56, as: UInt32.self))
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return errno }
        defer { close(file) }
        body = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
            count = max(0, pread(file, buffer.baseAddress, size, off_t(offset)))
        }
        return 0
    }

    private func target(_ path: String, into body: inout [UInt8]) -> Int32 {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink(path, &buffer, buffer.count)
        guard count >= 0 else { return errno }
        body = buffer.prefix(count).map { UInt8(bitPattern: $0) }
        return 0
    }

    private func text(_ request: UnsafeRawBufferPointer, _ start: Int) -> String {
        String(decoding: request[start...].prefix { $0 != 0 }, as: UTF8.self)
    }
}

extension [UInt8] {
    fileprivate mutating func append<Number: FixedWidthInteger>(number: Number) {
        Swift.withUnsafeBytes(of: number.littleEndian) { append(contentsOf: $0) }
    }

    /// struct fuse_attr.
    fileprivate mutating func append(attributes status: stat) {
        for word in [
            UInt64(status.st_ino), UInt64(status.st_size), UInt64(status.st_blocks), UInt64(status.st_atim.tv_sec),
            UInt64(status.st_mtim.tv_sec), UInt64(status.st_ctim.tv_sec),
        ] { append(number: word) }
        for half in [
            UInt32(status.st_atim.tv_nsec), UInt32(status.st_mtim.tv_nsec), UInt32(status.st_ctim.tv_nsec),
            status.st_mode,
            UInt32(status.st_nlink), status.st_uid, status.st_gid, UInt32(status.st_rdev), UInt32(status.st_blksize), 0,
        ] { append(number: half) }
    }
}
