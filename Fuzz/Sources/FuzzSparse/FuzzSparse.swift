import FuzzArchives
import FuzzSupport
import LayerModel
import TarCodec

/// Maps made of numbers, in each of the four forms, are taken if and only if they are sound, and then read as they were
/// written; maps made of bytes never give an extent outside of its file.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzSparse(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    var input = FuzzInput(data, count)
    let kind = input.byte()
    let sizes = input.pieceSizes()
    if kind & 1 == 0 {
        checkMap(&input, sizes)
    } else {
        checkText(&input, SparseForm.allCases[Int(kind >> 1) % 4], sizes)
    }
    return 0
}

/// The ways to write a map: records that repeat, one record, lines in front of the data, and old GNU headers.
enum SparseForm: CaseIterable {
    case records, list, lines, old

    func archive(size: Int64, _ extents: [[Int64]], stored: Int64) -> [UInt8]? {
        switch self {
        case .records:
            var text = record("GNU.sparse.size", "\(size)") + record("GNU.sparse.numblocks", "\(extents.count)")
            for extent in extents {
                text += record("GNU.sparse.offset", "\(extent[0])") + record("GNU.sparse.numbytes", "\(extent[1])")
            }
            return file(text, map: [], stored)
        case .list:
            let list = extents.flatMap { $0 }.map(String.init).joined(separator: ",")
            return file(
                record("GNU.sparse.size", "\(size)") + record("GNU.sparse.numblocks", "\(extents.count)")
                    + record("GNU.sparse.map", list), map: [], stored)
        case .lines:
            let lines = "\(extents.count)\n" + extents.flatMap { $0 }.map { "\($0)\n" }.joined()
            return file(Self.versionOne(size), map: Array(lines.utf8), stored)
        case .old: return old(size, extents, stored)
        }
    }

    static func versionOne(_ size: Int64) -> [UInt8] {
        record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") + record("GNU.sparse.realsize", "\(size)")
    }

    /// An entry with these records and a body of zeros behind a map.
    private func file(_ records: [UInt8], map: [UInt8], _ stored: Int64) -> [UInt8] {
        paxEntry(records, body: padded(map) + [UInt8](repeating: 0, count: Int(stored)))
    }

    private func old(_ size: Int64, _ extents: [[Int64]], _ stored: Int64) -> [UInt8]? {
        var rest = extents[...]
        func entries(_ block: inout [UInt8], _ start: Int, _ count: Int) {
            for (index, extent) in rest.prefix(count).enumerated() {
                putNumber(&block, extent[0], start + index * 24)
                putNumber(&block, extent[1], start + index * 24 + 12)
            }
            rest = rest.dropFirst(count)
        }
        var archive = headerBlock(name: "f", type: TarType.gnuSparse, size: stored) { block in
            put(&block, "ustar  \u{0}", 257)
            entries(&block, 386, 4)
            block[482] = rest.isEmpty ? 0 : 1
            putNumber(&block, size, 483)
        }
        while !rest.isEmpty {
            var block = [UInt8](repeating: 0, count: 512)
            entries(&block, 0, 21)
            block[504] = rest.isEmpty ? 0 : 1
            archive += block
        }
        return archive + padded([UInt8](repeating: 0, count: Int(stored)))
    }
}

private func checkMap(_ input: inout FuzzInput, _ sizes: [Int]) {
    let stored = Int64(input.byte()) << Int64(input.byte() & 3)
    let size = input.number()
    var extents: [[Int64]] = []
    let wanted = Int(input.byte() & 63)
    let isAscending = input.byte() & 3 != 0
    var at: Int64 = 0
    while extents.count < wanted, input.count > 0 {
        if isAscending {
            // Numbers of chance would hardly ever be in order.
            let extent = [at &+ Int64(input.byte()), Int64(input.byte() & 31)]
            at = extent[0] &+ extent[1]
            extents.append(extent)
        } else {
            extents.append([input.number(), input.number()])
        }
    }
    let total = extents.reduce(0) { $0 &+ $1[1] }
    let fits = isAscending && input.byte() & 1 == 0
    let isSound = isSound(size: fits ? at : size, extents, stored: fits ? total : stored)
    for form in SparseForm.allCases {
        // One empty list and no list look the same where the map lies in records.
        guard let archive = form.archive(size: fits ? at : size, extents, stored: fits ? total : stored) else {
            continue
        }
        let whole = FuzzReading(archive)
        require(FuzzReading(archive, sizes) == whole, "pieces read as the whole")
        for entry in whole.entries { entry.check(TarLimits()) }
        guard isSound else {
            require(whole.entries.allSatisfy { !$0.isSparse }, "\(form) takes a map that is not sound: \(extents)")
            continue
        }
        require(whole.entries.count == 1, "\(form) refuses a sound map: \(whole.ending) \(extents)")
        require(whole.entries[0].isSparse, "\(form) makes a sparse file")
        require(whole.entries[0].extents == extents.filter { $0[1] > 0 }, "\(form) reads its map as it was written")
        require(whole.entries[0].fields.size == (fits ? at : size), "\(form) keeps the size")
    }
}

/// What a map must be, said in another way than the decoder says it.
private func isSound(size: Int64, _ extents: [[Int64]], stored: Int64) -> Bool {
    var end: Int64 = 0
    var total: Int64 = 0
    for extent in extents {
        guard extent[0] >= 0, extent[1] >= 0, extent[0] >= end, extent[1] <= Int64.max - extent[0] else { return false }
        end = extent[0] + extent[1]
        total += extent[1]
    }
    return size >= 0 && end <= size && total == stored
}

/// A map that is bytes of chance, in the place where the form has its map.
private func checkText(_ input: inout FuzzInput, _ form: SparseForm, _ sizes: [Int]) {
    let size = input.number()
    let text = input.rest
    let archive: [UInt8]
    switch form {
    case .records: archive = paxEntry(text, body: [1, 2, 3])
    case .list:
        let count = text.count { $0 == UInt8(ascii: ",") } / 2 + 1
        let map = record("GNU.sparse.map", String(decoding: text.map { $0 & 0x7f }, as: UTF8.self))
        archive = paxEntry(
            record("GNU.sparse.numblocks", "\(count)") + record("GNU.sparse.size", "\(size)") + map, body: [])
    case .lines: archive = paxEntry(SparseForm.versionOne(size), body: text)
    case .old:
        let header = headerBlock(name: "f", type: TarType.gnuSparse, size: 0) { block in
            put(&block, "ustar  \u{0}", 257)
            putNumber(&block, size, 483)
            block[482] = 1
        }
        archive = header + padded(text)
    }
    let whole = FuzzReading(archive)
    for entry in whole.entries { entry.check(TarLimits()) }
    require(FuzzReading(archive, sizes) == whole, "pieces read as the whole")
}

/// A regular file with these records in front of it.
private func paxEntry(_ records: [UInt8], body: [UInt8]) -> [UInt8] {
    headerBlock(name: "x", type: TarType.paxHeader, size: Int64(records.count)) + padded(records)
        + headerBlock(name: "f", size: Int64(body.count)) + padded(body)
}

/// A number in base 256, which holds all of 64 bits.
private func putNumber(_ block: inout [UInt8], _ value: Int64, _ start: Int) {
    for index in 0..<12 {
        block[start + 11 - index] = UInt8(truncatingIfNeeded: index < 8 ? value >> Int64(index * 8) : value >> 63)
    }
    block[start] = block[start] & 0x7f | 0x80
}
