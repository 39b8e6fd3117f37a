/// What one header block says, before any meta entries are applied (R1–R3).
struct TarHeader: BitwiseCopyable {
    enum Format { case v7, ustar, star, gnu }

    var fields = TarFields()
    var format = Format.v7
    var nameCount = 0
    var linkCount = 0
    var userCount = 0
    var groupCount = 0
    /// Bytes of the prefix field that go in front of the name; 0 when there is none.
    var prefixCount = 0
    var accessSeconds: Int64?
    var changeSeconds: Int64?

    /// Whether the stored checksum matches the unsigned or the signed sum of the bytes (R1).
    @inline(__always)
    static func isChecksumRight(_ block: Span<UInt8>, sum: UInt32) -> Bool {
        let field = Layout.checksum
        guard let stored = TarNumber.parseOctal(from: field.start, count: field.count, in: block) else { return false }
        var unsigned = Int64(sum) + 8 * 0x20
        for at in field.range { unsigned -= Int64(block[at]) }
        return stored == unsigned || stored == signedSum(block)
    }

    @inline(never)
    private static func signedSum(_ block: Span<UInt8>) -> Int64 {
        var sum: Int64 = 8 * 0x20
        for at in 0..<Layout.blockSize where !Layout.checksum.range.contains(at) {
            sum += Int64(Int8(bitPattern: block[at]))
        }
        return sum
    }

    /// Reads a block whose checksum is right; false when a number in it is bad.
    mutating func read(_ bytes: [UInt8]) -> Bool {
        let block = bytes.span
        self = TarHeader()
        guard let mode = TarNumber.parse(Layout.mode, in: block),
            let uid = TarNumber.parse(Layout.uid, in: block),
            let gid = TarNumber.parse(Layout.gid, in: block),
            let size = TarNumber.parse(Layout.size, in: block),
            let mtime = TarNumber.parse(Layout.mtime, in: block)
        else { return false }
        fields.type = block[Layout.type]
        fields.mode = UInt32(truncatingIfNeeded: mode)
        fields.uid = uid
        fields.gid = gid
        fields.size = size
        fields.mtimeSeconds = mtime
        nameCount = Self.textCount(Layout.name, in: block)
        linkCount = Self.textCount(Layout.linkName, in: block)
        format = Self.format(of: block)
        return format == .v7 || readExtension(block)
    }

    /// Reads what the formats after v7 added.
    @inline(__always)
    private mutating func readExtension(_ block: Span<UInt8>) -> Bool {
        guard let major = TarNumber.parse(Layout.deviceMajor, in: block),
            let minor = TarNumber.parse(Layout.deviceMinor, in: block)
        else { return false }
        fields.deviceMajor = major
        fields.deviceMinor = minor
        userCount = Self.textCount(Layout.userName, in: block)
        groupCount = Self.textCount(Layout.groupName, in: block)
        switch format {
        case .v7: return true
        case .ustar:
            prefixCount = Self.textCount(Layout.prefix, in: block)
            return true
        case .star:
            prefixCount = Self.textCount(Layout.starPrefix, in: block)
            accessSeconds = TarNumber.parse(Layout.starAccessTime, in: block)
            changeSeconds = TarNumber.parse(Layout.starChangeTime, in: block)
            return accessSeconds != nil && changeSeconds != nil
        case .gnu:
            readGnuTimes(block)
            return true
        }
    }

    /// Reads the old GNU times. Archives of old Go writers have a ustar prefix there: ASCII that is no number (R3).
    private mutating func readGnuTimes(_ block: Span<UInt8>) {
        let access = Layout.gnuAccessTime
        let change = Layout.gnuChangeTime
        if block[access.start] == 0 && block[change.start] == 0 { return }
        let accessTime = TarNumber.parse(access, in: block)
        let changeTime = TarNumber.parse(change, in: block)
        if accessTime != nil && changeTime != nil {
            accessSeconds = block[access.start] == 0 ? nil : accessTime
            changeSeconds = block[change.start] == 0 ? nil : changeTime
            return
        }
        let count = Self.textCount(Layout.prefix, in: block)
        let text = block.extracting(Layout.prefix.start..<Layout.prefix.start + count)
        if Octets.isPlain(text) { prefixCount = count }
    }

    /// Bytes of a text field in front of its first NUL.
    @inline(__always)
    private static func textCount(_ field: Layout.Field, in block: Span<UInt8>) -> Int {
        var count = 0
        while count < field.count, block[field.start &+ count] != 0 { count &+= 1 }
        return count
    }

    @inline(__always)
    private static func format(of block: Span<UInt8>) -> Format {
        let at = Layout.magic
        guard block[at] == UInt8(ascii: "u"), block[at + 1] == UInt8(ascii: "s"), block[at + 2] == UInt8(ascii: "t"),
            block[at + 3] == UInt8(ascii: "a"), block[at + 4] == UInt8(ascii: "r")
        else { return .v7 }
        let blank = UInt8(ascii: " ")
        if block[at + 5] == blank && block[at + 6] == blank && block[at + 7] == 0 { return .gnu }
        guard block[at + 5] == 0 else { return .v7 }
        let trailer = Layout.starTrailer
        let isStar =
            block[trailer] == UInt8(ascii: "t") && block[trailer + 1] == UInt8(ascii: "a")
            && block[trailer + 2] == UInt8(ascii: "r") && block[trailer + 3] == 0
        return isStar ? .star : .ustar
    }
}
