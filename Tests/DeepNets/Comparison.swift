import Glibc

/// Compares a stream with a file as it comes, and remembers the first difference.
final class StreamComparison {
    private let file: Int32
    private let size: Int
    private var position = 0
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 8)
    private var difference: Int?

    init(with path: String) throws {
        file = open(path, O_RDONLY | O_CLOEXEC)
        var status = stat()
        guard file >= 0, fstat(file, &status) == 0 else { throw Trouble.call("open", path) }
        size = Int(status.st_size)
    }

    deinit {
        close(file)
        buffer.deallocate()
    }

    func take(_ bytes: UnsafeRawBufferPointer) {
        guard difference == nil else { return }
        var done = 0
        while done < bytes.count {
            let wanted = min(bytes.count - done, buffer.count)
            let count = max(pread(file, buffer.baseAddress, wanted, position), 0)
            let piece = UnsafeRawBufferPointer(rebasing: bytes[done..<done + count])
            if count < wanted || !areEqual(piece, UnsafeRawBufferPointer(rebasing: buffer[..<count])) {
                let same = (0..<count).first { piece[$0] != buffer[$0] } ?? count
                difference = position + same
                return
            }
            position += count
            done += count
        }
    }

    /// What is wrong with the stream, all of which was taken; nil where it is the file.
    var verdict: String? {
        if let difference { return "differs from the reference at byte \(difference) of \(size)" }
        return position == size ? nil : "ends at byte \(position) of \(size)"
    }
}

/// Whether two buffers of one length hold the same.
func areEqual(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Bool {
    guard let first = left.baseAddress, let second = right.baseAddress else { return true }
    return memcmp(first, second, left.count) == 0
}

/// Compares two files; nil where they are the same.
func difference(of path: String, from reference: String) throws -> String? {
    let comparison = try StreamComparison(with: reference)
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return "is not there" }
    defer { close(file) }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 8)
    defer { buffer.deallocate() }
    while true {
        let count = read(file, buffer.baseAddress, buffer.count)
        guard count >= 0 else { throw Trouble.call("read", path) }
        if count == 0 { return comparison.verdict }
        comparison.take(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
    }
}
