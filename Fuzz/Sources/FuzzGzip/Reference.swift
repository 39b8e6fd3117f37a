import CArchive
import CISAL
import FuzzSupport

/// A member of a gzip stream around this deflated data: flags and checksum as they have to be.
func member(_ deflated: [UInt8], flags: UInt8) -> [UInt8] {
    var bytes: [UInt8] = [0x1f, 0x8b, 8, flags & 0x1e, 0, 0, 0, 0, 0, 0xff]
    if flags & 4 != 0 { bytes += [2, 0, 7, 7] }
    if flags & 8 != 0 { bytes += [0x6e, 0] }
    if flags & 16 != 0 { bytes += [0x63, 0x6f, 0] }
    if flags & 2 != 0 {
        let checksum = crc32_gzip_refl(0, bytes, UInt64(bytes.count))
        bytes += [UInt8(truncatingIfNeeded: checksum), UInt8(truncatingIfNeeded: checksum >> 8)]
    }
    let (inflated, used) = inflate(deflated, isGzip: false)
    bytes += deflated.prefix(used)
    let checksum = crc32_gzip_refl(0, inflated, UInt64(inflated.count))
    for number in [checksum, UInt32(truncatingIfNeeded: inflated.count)] {
        for shift: UInt32 in [0, 8, 16, 24] { bytes.append(UInt8(truncatingIfNeeded: number >> shift)) }
    }
    return bytes
}

/// What libarchive, with zlib beneath it, makes of the stream; nil where it refuses it.
func decodeWithLibarchive(_ stream: [UInt8]) -> [UInt8]? {
    let archive = archive_read_new()
    defer { archive_read_free(archive) }
    guard archive_read_append_filter(archive, ARCHIVE_FILTER_GZIP) == ARCHIVE_OK,
        archive_read_support_format_raw(archive) == ARCHIVE_OK,
        archive_read_support_format_empty(archive) == ARCHIVE_OK
    else { fatalError("libarchive has no gzip") }
    return stream.withUnsafeBytes { bytes in
        guard archive_read_open_memory(archive, bytes.baseAddress, bytes.count) == ARCHIVE_OK else { return nil }
        var entry: OpaquePointer?
        let status = archive_read_next_header(archive, &entry)
        if status == ARCHIVE_EOF { return [] }
        guard status == ARCHIVE_OK else { return nil }
        var result: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while result.count <= 1 << 20 {
            let count = archive_read_data(archive, &buffer, buffer.count)
            if count < 0 { return nil }
            if count == 0 { return result }
            result += buffer[..<count]
        }
        return nil
    }
}
