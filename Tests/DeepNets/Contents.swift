import Glibc

/// Bytes that say whose they are and where they belong: a word of eight bytes is made of the file's key and the word's place,
/// so that no piece of one file equals any other piece, of this file or of another.
struct Contents {
    var key: UInt64
    var size: Int

    static func word(_ key: UInt64, _ index: Int) -> UInt64 { (key &+ UInt64(index)) &* 0x9e37_79b9_7f4a_7c15 ^ key }

    /// Fills `buffer` with the bytes from `offset`, a multiple of eight, on.
    func fill(_ buffer: UnsafeMutableRawBufferPointer, from offset: Int) {
        let words = buffer.count / 8
        let typed = buffer.bindMemory(to: UInt64.self)
        var index = 0
        while index < words {
            typed[index] = Self.word(key, offset / 8 + index)
            index += 1
        }
        let last = Self.word(key, offset / 8 + words)
        withUnsafeBytes(of: last) { bytes in
            for rest in words * 8..<buffer.count { buffer[rest] = bytes[rest - words * 8] }
        }
    }

    /// Writes the ranges of the file that are not holes, and gives it its size.
    func write(to descriptor: Int32, data: [Range<Int>]) throws {
        let piece = 1 << 18
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: piece, alignment: 8)
        defer { buffer.deallocate() }
        for range in data {
            var position = range.lowerBound & ~7
            while position < range.upperBound {
                let count = min(piece, range.upperBound - position)
                let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
                fill(part, from: position)
                let skipped = max(range.lowerBound - position, 0)
                try writeAll(
                    UnsafeRawBufferPointer(rebasing: part[skipped...]), to: descriptor, at: position + skipped)
                position += count
            }
        }
        if data.last?.upperBound != size, ftruncate(descriptor, size) != 0 {
            throw Trouble.call("ftruncate", "\(size)")
        }
    }
}
