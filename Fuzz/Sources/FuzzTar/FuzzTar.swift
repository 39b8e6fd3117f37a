import FuzzArchives
import FuzzSupport
import LayerModel
import TarCodec

/// An archive as it is, or with its checksums made right: read in pieces of any size it is one and the same, every entry
/// keeps to the limits, and what the encoder makes of an entry reads as that entry.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzTar(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    var input = FuzzInput(data, count)
    let isSigned = input.byte() & 3 != 0
    let sizes = input.pieceSizes()
    let archive = isSigned ? signHeaders(input.rest) : input.rest
    let whole = FuzzReading(archive)
    for entry in whole.entries { entry.check(TarLimits()) }
    // One by one is slow, and a short archive has every state already.
    for split in [sizes, archive.count <= 2048 ? [1] : [511, 2], [513]] {
        require(FuzzReading(archive, split) == whole, "pieces of \(split) bytes read as the whole")
    }
    let passed = FuzzReading(archive, sizes, leavesBodies: true)
    require(passed == whole.withoutBodies(), "bodies that the decoder passes over change nothing")
    for entry in whole.entries where !entry.isSparse { checkEncoder(entry) }
    return 0
}

/// Where the encoder has a form for the entry, that form reads as the entry.
private func checkEncoder(_ entry: FuzzEntry) {
    for format in [TarWriteFormat.pax, .unspecified] {
        var encoder = TarEncoder()
        for index in stride(from: 0, to: entry.attributes.count, by: 2) {
            let (name, value) = (entry.attributes[index], entry.attributes[index + 1])
            encoder.addExtendedAttribute(name: name.rawBytes, value: value.rawBytes)
        }
        do {
            try encoder.encode(
                entry.fields, name: entry.name.rawBytes, linkName: entry.link.rawBytes,
                userName: entry.user.rawBytes, groupName: entry.group.rawBytes, format: format)
        } catch {
            require(encoder.blocks.byteCount == 0, "a refused header leaves nothing")
            continue
        }
        let blocks = encoder.blocks.copied()
        require(blocks.count % 512 == 0, "headers are whole blocks")
        var expected = entry
        expected.accessTime = []
        expected.accessControl = [[], []]
        expected.offset = 0
        expected.body = []
        if format == .unspecified && entry.fields.mtimeNanoseconds >= 500_000_000 { expected.fields.mtimeSeconds += 1 }
        expected.fields.mtimeNanoseconds = 0
        let again = FuzzReading(blocks)
        require(again.entries == [expected], "an encoded header reads as what was encoded: \(again) for \(expected)")
    }
}
