import LayerModel

/// A name in a directory of an image.
package struct ErofsEntry: Sendable, Equatable {
    /// The inode's number.
    package var number: UInt64
    package var type: UInt8
    /// Where the name lies in the image.
    package var name: Range<Int>
}

/// How far a directory has been read.
package struct ErofsDirectoryPlace: Sendable {
    var block = 0
    var entry = 0

    package init() {}
}

extension ErofsReader {
    /// The next name of a directory, `.` and `..` among them.
    package func nextEntry(_ directory: ErofsInode, _ place: inout ErofsDirectoryPlace) throws(ErofsProblem)
        -> ErofsEntry?
    {
        while let bytes = try block(directory, place.block) {
            let count = try entryCount(bytes)
            if place.entry < count {
                defer { place.entry += 1 }
                return try entry(bytes, place.entry, count)
            }
            place.block += 1
            place.entry = 0
        }
        return nil
    }

    /// What lies under a name, by search; nil for nothing.
    package func lookUp(_ name: RawSpan, in directory: ErofsInode) throws(ErofsProblem) -> ErofsEntry? {
        // The last block whose first name is not behind the one looked for.
        var (low, high) = (0, try blockCount(directory))
        while high - low > 1 {
            let middle = (low + high) / 2
            guard let bytes = try block(directory, middle) else { throw .badDirectory }
            let first = try entry(bytes, 0, entryCount(bytes))
            if bytesCompare(image.extracting(first.name), name) <= 0 { low = middle } else { high = middle }
        }
        guard let bytes = try block(directory, low) else { return nil }
        let count = try entryCount(bytes)
        var (left, right) = (0, count)
        while left < right {
            let middle = (left + right) / 2
            let found = try entry(bytes, middle, count)
            let order = bytesCompare(image.extracting(found.name), name)
            if order == 0 { return found }
            if order < 0 { left = middle + 1 } else { right = middle }
        }
        return nil
    }

    private func blockCount(_ directory: ErofsInode) throws(ErofsProblem) -> Int {
        guard directory.kind == .directory, directory.size <= Int64(image.byteCount) else { throw .badDirectory }
        return Int(directory.size).rounded(to: ErofsFormat.blockSize) / ErofsFormat.blockSize
    }

    /// The place of a block's bytes; nil behind the last one.
    private func block(_ directory: ErofsInode, _ index: Int) throws(ErofsProblem) -> Range<Int>? {
        guard index < (try blockCount(directory)) else { return nil }
        let done = index * ErofsFormat.blockSize
        let count = min(Int(directory.size) - done, ErofsFormat.blockSize)
        var start = Int(directory.value) * ErofsFormat.blockSize + done
        if directory.layout == .inline, count < ErofsFormat.blockSize { start = directory.end }
        guard start + count <= image.byteCount else { throw .badDirectory }
        return start..<start + count
    }

    /// Entries of a block: as many as fit in front of the first name.
    private func entryCount(_ block: Range<Int>) throws(ErofsProblem) -> Int {
        guard block.count >= ErofsFormat.directoryEntrySize else { throw .badDirectory }
        let first = Int(image.number16(block.lowerBound + 8))
        guard first >= ErofsFormat.directoryEntrySize, first % ErofsFormat.directoryEntrySize == 0,
            first < block.count
        else { throw .badDirectory }
        return first / ErofsFormat.directoryEntrySize
    }

    private func entry(_ block: Range<Int>, _ index: Int, _ count: Int) throws(ErofsProblem) -> ErofsEntry {
        let at = block.lowerBound + index * ErofsFormat.directoryEntrySize
        let start = Int(image.number16(at + 8))
        let next = at + ErofsFormat.directoryEntrySize
        var end = index + 1 < count ? Int(image.number16(next + 8)) : block.count
        guard start >= count * ErofsFormat.directoryEntrySize, start < end, end <= block.count else {
            throw .badDirectory
        }
        let name = block.lowerBound + start
        if index + 1 == count {
            // The last name ends where the block does, or where its zeros begin.
            var length = 0
            while start + length < end, image[name + length] != 0 { length += 1 }
            end = start + length
        }
        guard end > start, end - start <= ErofsFormat.longestName, isName(name..<block.lowerBound + end) else {
            throw .badDirectory
        }
        return ErofsEntry(number: image.number64(at), type: image[at + 10], name: name..<block.lowerBound + end)
    }

    private func isName(_ range: Range<Int>) -> Bool {
        for at in range where image[at] == 0 || image[at] == UInt8(ascii: "/") { return false }
        return true
    }

    /// Whether an entry is the directory itself, or the one above.
    package func isDots(_ entry: ErofsEntry) -> Bool {
        let dot = UInt8(ascii: ".")
        guard image[entry.name.lowerBound] == dot else { return false }
        return entry.name.count == 1 || entry.name.count == 2 && image[entry.name.lowerBound + 1] == dot
    }

    /// What lies at a path of plain components, no link followed; nil for nothing.
    package func find(_ path: RawSpan) throws(ErofsProblem) -> ErofsInode? {
        var here = try inode(root)
        var position = 0
        while position < path.byteCount {
            var end = position
            while end < path.byteCount, path[end] != UInt8(ascii: "/") { end += 1 }
            if end > position {
                guard here.kind == .directory, let found = try lookUp(path.extracting(position..<end), in: here) else {
                    return nil
                }
                here = try inode(found.number)
            }
            position = end + 1
        }
        return here
    }
}
