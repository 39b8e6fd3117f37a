import FuzzSupport
import LayerModel

@testable public import TarCodec

/// Everything the decoder says of one entry, and its body.
public struct FuzzEntry: Equatable {
    public var fields: TarFields
    public var name: [UInt8]
    public var link: [UInt8]
    public var user: [UInt8]
    public var group: [UInt8]
    public var attributes: [[UInt8]] = []
    public var extents: [[Int64]] = []
    public var isSparse: Bool
    public var accessTime: [Int64]
    public var accessControl: [[UInt8]]
    public var stored: Int64
    public var offset: UInt64
    public var body: [UInt8] = []

    init(_ decoder: borrowing TarDecoder) {
        fields = decoder.fields
        name = decoder.name.copied()
        link = decoder.linkName.copied()
        user = decoder.userName.copied()
        group = decoder.groupName.copied()
        isSparse = decoder.isSparse
        accessTime = decoder.accessTime.map { [$0.seconds, Int64($0.nanoseconds)] } ?? []
        accessControl = [decoder.accessControlText.copied(), decoder.defaultAccessControlText.copied()]
        stored = decoder.storedByteCount
        offset = decoder.entryOffset
        for index in 0..<decoder.extendedAttributeCount {
            attributes.append(decoder.extendedAttributeName(index).copied())
            attributes.append(decoder.extendedAttributeValue(index).copied())
        }
        for index in 0..<decoder.sparseExtentCount {
            let extent = decoder.sparseExtent(index)
            extents.append([extent.offset, extent.length])
        }
    }

    /// Checks what every entry that a decoder gives must hold, whatever the archive says.
    public func check(_ limits: TarLimits) {
        require(name.count <= limits.name && link.count <= limits.name, "names keep to their limit")
        let longest = name.split(separator: UInt8(ascii: "/")).map(\.count).max() ?? 0
        require(longest <= limits.nameComponent, "components keep to their limit")
        require(![name, link, user, group].contains { $0.contains(0) }, "names have no NUL")
        require(fields.size >= 0 && stored >= 0, "sizes are not negative")
        require(fields.type != TarType.legacyRegular, "the old type for files is never given")
        require((0..<1_000_000_000).contains(fields.mtimeNanoseconds), "nanoseconds are below a second")
        require(extents.count <= limits.sparseExtents, "sparse maps keep to their limit")
        var end: Int64 = 0
        var total: Int64 = 0
        for extent in extents {
            require(extent[0] >= end && extent[1] > 0, "extents are sorted, apart and not empty")
            end = extent[0] + extent[1]
            total += extent[1]
        }
        require(end <= fields.size, "extents lie in the file")
        require(!isSparse || total == stored, "extents are what is stored")
        var last: [UInt8]?
        for index in stride(from: 0, to: attributes.count, by: 2) {
            let name = attributes[index]
            require(!name.isEmpty && !name.contains(0), "attributes have names")
            require(last.map { $0.lexicographicallyPrecedes(name) } ?? true, "attributes are sorted, none twice")
            last = name
        }
    }
}

/// How reading an archive ended.
public enum FuzzEnding: Equatable {
    case endMark(consumed: Int)
    case endOfInput
    case failed(TarError)
}

public struct FuzzReading: Equatable {
    public var entries: [FuzzEntry] = []
    public var ending = FuzzEnding.endOfInput
    public var globalHeaders = 0

    /// Decodes an archive whose bytes come in pieces of these sizes; with `leavesBodies` the decoder passes over the bodies.
    public init(_ archive: [UInt8], _ sizes: [Int] = [.max], leavesBodies: Bool = false) {
        var decoder = TarDecoder()
        do throws(TarError) {
            ending = try read(archive, sizes, leavesBodies, &decoder)
        } catch {
            ending = .failed(error)
        }
        globalHeaders = decoder.globalHeaderCount
    }

    private mutating func read(
        _ archive: [UInt8], _ sizes: [Int], _ leavesBodies: Bool, _ decoder: inout TarDecoder
    ) throws(TarError) -> FuzzEnding {
        var at = 0
        var windowEnd = 0
        var turn = 0
        func refill() {
            guard at == windowEnd, at < archive.count else { return }
            windowEnd = at + min(sizes[turn % sizes.count], archive.count - at)
            turn += 1
        }
        while true {
            refill()
            let (consumed, step) = try decoder.step(archive.rawBytes.extracting(at..<windowEnd))
            at += consumed
            switch step {
            case .end: return .endMark(consumed: at)
            case .needMore:
                require(at == windowEnd, "nothing is left where more is wanted")
                if at < archive.count { continue }
                try decoder.endOfInput()
                return .endOfInput
            case .entry:
                entries.append(FuzzEntry(decoder))
                if leavesBodies { continue }
                var body = decoder.storedByteCount
                var padding = decoder.padding
                while (body > 0 || padding > 0) && at < archive.count {
                    refill()
                    let part = Int(min(body, Int64(windowEnd - at)))
                    entries[entries.count - 1].body += archive[at..<at + part]
                    let rest = min(padding, windowEnd - at - part)
                    decoder.advance(part + rest)
                    at += part + rest
                    body -= Int64(part)
                    padding -= rest
                }
            }
        }
    }

    /// The same with neither the bodies nor how often: for comparing with a reading that passed over them.
    public func withoutBodies() -> FuzzReading {
        var copy = self
        for index in copy.entries.indices { copy.entries[index].body = [] }
        return copy
    }
}

/// Makes the checksums of all header blocks right, which a fuzzer would not guess in a lifetime.
public func signHeaders(_ archive: [UInt8]) -> [UInt8] {
    var archive = archive
    var decoder = TarDecoder()
    var at = 0
    while at + Layout.blockSize <= archive.count {
        let block = at..<at + Layout.blockSize
        if decoder.state == .header, decoder.blockFilled == 0 { sign(&archive, block) }
        guard let step = try? decoder.step(archive.rawBytes.extracting(block)), step.step != .end else { break }
        // A step may end in front of the block's end: not while whole blocks are given one by one and bodies are left.
        require(step.consumed == Layout.blockSize, "whole blocks are taken whole")
        at = block.upperBound
    }
    return archive
}

/// Makes one block's checksum right; a block of zeros stays as it is.
public func sign(_ archive: inout [UInt8], _ block: Range<Int>) {
    if archive[block].allSatisfy({ $0 == 0 }) { return }
    let field = block.lowerBound + Layout.checksum.start
    for index in field..<field + 8 { archive[index] = 0x20 }
    var sum = archive[block].reduce(0) { $0 + Int($1) }
    archive[field + 6] = 0
    for index in (field..<field + 6).reversed() {
        archive[index] = UInt8(sum & 7) | 0x30
        sum >>= 3
    }
}

/// A header block whose checksum is right, of a regular file unless `change` says something else.
public func headerBlock(
    name: String, type: UInt8 = TarType.regular, size: Int64, _ change: (inout [UInt8]) -> Void = { _ in }
)
    -> [UInt8]
{
    var block = [UInt8](repeating: 0, count: Layout.blockSize)
    put(&block, name, 0)
    put(&block, "0000644\0" + "0000000\0" + "0000000\0", Layout.mode.start)
    let digits = String(size, radix: 8)
    put(&block, String(repeating: "0", count: 11 - digits.count) + digits, Layout.size.start)
    put(&block, "14524770400\0", Layout.mtime.start)
    block[Layout.type] = type
    put(&block, "ustar\u{0}00", Layout.magic)
    change(&block)
    sign(&block, block.indices)
    return block
}

public func put(_ block: inout [UInt8], _ text: String, _ start: Int) {
    for (index, byte) in text.utf8.enumerated() { block[start + index] = byte }
}

/// The bytes and the zeros up to the next block.
public func padded(_ bytes: [UInt8]) -> [UInt8] {
    bytes + [UInt8](repeating: 0, count: TarEncoder.padding(after: Int64(bytes.count)))
}

/// A PAX record with its right length.
public func record(_ key: String, _ value: String) -> [UInt8] { record(Array(key.utf8), Array(value.utf8)) }

public func record(_ key: [UInt8], _ value: [UInt8]) -> [UInt8] {
    let rest = [UInt8(ascii: " ")] + key + [UInt8(ascii: "=")] + value + [UInt8(ascii: "\n")]
    var length = rest.count + 1
    while String(length).utf8.count + rest.count != length { length += 1 }
    return Array(String(length).utf8) + rest
}
