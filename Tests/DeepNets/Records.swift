import Glibc

/// What a file holds that is written while others read: records of 32 bytes which say whose they are, which state of the file
/// they belong to and where they lie, so that any piece of an archive can be judged alone.
enum Records {
    static let size = 32
    private static let magic: UInt64 = 0x4c44_4946_465f_5245

    private static func check(_ whose: UInt64, _ index: UInt64) -> UInt64 {
        var word = whose &* 0x9e37_79b9_7f4a_7c15 ^ index &* 0xc2b2_ae3d_27d4_eb4f
        word ^= word >> 29
        return word &* 0xbf58_476d_1ce4_e5b9 | 1
    }

    /// Fills whole records of a file's state, from the record `first` on.
    static func fill(_ buffer: UnsafeMutableRawBufferPointer, file: Int, state: Int, first: Int) {
        let words = buffer.bindMemory(to: UInt64.self)
        let whose = UInt64(file) << 32 | UInt64(state)
        var index = 0
        while index * 4 + 3 < words.count {
            words[index * 4] = magic
            words[index * 4 + 1] = whose
            words[index * 4 + 2] = UInt64(first + index)
            words[index * 4 + 3] = check(whose, UInt64(first + index))
            index += 1
        }
    }

    /// Whose the record at the start of `bytes` is; nil where it is none.
    static func read(_ bytes: UnsafeRawBufferPointer) -> (file: Int, state: Int, index: Int)? {
        guard bytes.count >= size, bytes.loadUnaligned(as: UInt64.self) == magic else { return nil }
        let whose = bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        let index = bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
        guard bytes.loadUnaligned(fromByteOffset: 24, as: UInt64.self) == check(whose, index) else { return nil }
        return (Int(whose >> 32), Int(whose & 0xffff_ffff), Int(index))
    }

    /// Writes a state of a file at the places in `ranges`, whose bounds are multiples of a record.
    static func write(to descriptor: Int32, file: Int, state: Int, _ ranges: [Range<Int>]) throws {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 8)
        defer { buffer.deallocate() }
        for range in ranges {
            var position = range.lowerBound
            while position < range.upperBound {
                let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<min(1 << 16, range.upperBound - position)])
                fill(part, file: file, state: state, first: position / size)
                try writeAll(UnsafeRawBufferPointer(part), to: descriptor, at: position)
                position += part.count
            }
        }
    }

    /// How a body may be made up.
    enum Rule {
        /// One state of the file from beginning to end.
        case oneState
        /// Records of any state, each at its place: a file that is cut to nothing and grows again.
        case anyState
        /// One state, and zeros outside of `data`, the places that always held data.
        case withHoles
    }

    /// Judges a body; what is wrong with it, or which state it is.
    static func judge(
        _ body: UnsafeRawBufferPointer, file: Int, _ rule: Rule, data: (Int) -> [Range<Int>] = { _ in [] }
    )
        -> (state: Int, wrong: String?)
    {
        var state: Int?
        let expected = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 8)
        defer { expected.deallocate() }
        var position = 0
        var holes: [Int] = []
        while position + size <= body.count {
            let piece = UnsafeRawBufferPointer(rebasing: body[position..<position + size])
            if let found = read(piece) {
                if found.file != file { return (-1, "holds bytes of file \(found.file) at \(position)") }
                if found.index != position / size { return (-1, "holds record \(found.index) at \(position)") }
                if rule != .anyState, let state, state != found.state {
                    return (state, "is mixed: state \(state) before \(position), then state \(found.state)")
                }
                state = found.state
            } else if rule == .withHoles, isPartOf(piece, file, state, position / size, expected) {
                holes.append(position)
            } else {
                return (state ?? -1, "holds foreign bytes at \(position): \(shown(piece.prefix(24)))")
            }
            position += size
        }
        if position < body.count { return (state ?? -1, "has \(body.count) bytes, which is no state of it") }
        guard let state else { return body.isEmpty ? (-1, nil) : (-1, "holds nothing but zeros") }
        let always = data(state)
        if let hole = holes.first(where: { hole in always.contains { $0.contains(hole) } }) {
            return (state, "holds zeros at \(hole), where state \(state) always had data")
        }
        return (state, nil)
    }

    /// Whether each byte is zero or the record's own: a hole, or one that is being filled.
    private static func isPartOf(
        _ piece: UnsafeRawBufferPointer, _ file: Int, _ state: Int?, _ index: Int,
        _ expected: UnsafeMutableRawBufferPointer
    ) -> Bool {
        if piece.allSatisfy({ $0 == 0 }) { return true }
        guard let state else { return false }
        fill(expected, file: file, state: state, first: index)
        return (0..<size).allSatisfy { piece[$0] == 0 || piece[$0] == expected[$0] }
    }
}
