/// What an entry asks of its header: which PAX records it needs and which formats can hold it (W4–W6, W11).
struct HeaderNeeds {
    let path: Bool
    let linkPath: Bool
    let userName: Bool
    let groupName: Bool
    let uid: Bool
    let gid: Bool
    let size: Bool
    let mtime: Bool
    /// A NUL in a name, which no format can say.
    let hasNul: Bool
    /// Index of the slash at which the name can be split into prefix and name.
    let splitAt: Int?
    let fitUstar: Bool
    let fitPax: Bool
    let fitGnu: Bool

    init(_ fields: TarFields, _ texts: HeaderTexts) {
        path = Self.needsRecord(texts.name, Layout.name)
        linkPath = Self.needsRecord(texts.linkName, Layout.linkName)
        userName = Self.needsRecord(texts.userName, Layout.userName)
        groupName = Self.needsRecord(texts.groupName, Layout.groupName)
        uid = !TarNumber.fitsOctal(fields.uid, Layout.uid)
        gid = !TarNumber.fitsOctal(fields.gid, Layout.gid)
        size = !TarNumber.fitsOctal(fields.size, Layout.size)
        mtime = !TarNumber.fitsOctal(fields.mtimeSeconds, Layout.mtime) || fields.mtimeNanoseconds != 0
        hasNul =
            path && Octets.containsNul(texts.name) || linkPath && Octets.containsNul(texts.linkName)
            || userName && Octets.containsNul(texts.userName) || groupName && Octets.containsNul(texts.groupName)
        splitAt = path ? Self.split(texts.name) : nil
        fitPax =
            TarNumber.fitsOctal(Int64(fields.mode), Layout.mode)
            && TarNumber.fitsOctal(fields.deviceMajor, Layout.deviceMajor)
            && TarNumber.fitsOctal(fields.deviceMinor, Layout.deviceMinor)
        fitUstar =
            fitPax && (!path || splitAt != nil)
            && !(linkPath || userName || groupName || uid || gid || size || mtime)
        fitGnu =
            texts.userName.count <= Layout.userName.count && texts.groupName.count <= Layout.groupName.count
            && TarNumber.fitsBase256(fields.uid, Layout.uid) && TarNumber.fitsBase256(fields.gid, Layout.gid)
            && TarNumber.fitsBase256(fields.deviceMajor, Layout.deviceMajor)
            && TarNumber.fitsBase256(fields.deviceMinor, Layout.deviceMinor)
    }

    /// Whether every number fits its octal field, and there is no fraction of a second.
    @inline(__always)
    static func allFit(_ fields: TarFields) -> Bool {
        TarNumber.fitsOctal(Int64(fields.mode), Layout.mode) && TarNumber.fitsOctal(fields.uid, Layout.uid)
            && TarNumber.fitsOctal(fields.gid, Layout.gid) && TarNumber.fitsOctal(fields.size, Layout.size)
            && TarNumber.fitsOctal(fields.mtimeSeconds, Layout.mtime) && fields.mtimeNanoseconds == 0
            && TarNumber.fitsOctal(fields.deviceMajor, Layout.deviceMajor)
            && TarNumber.fitsOctal(fields.deviceMinor, Layout.deviceMinor)
    }

    private static func needsRecord(_ text: Span<UInt8>, _ field: Layout.Field) -> Bool {
        text.count > field.count || !Octets.isPlain(text)
    }

    /// Where a long ASCII name falls apart into prefix, slash and name, or nil when it does not (W6).
    private static func split(_ name: Span<UInt8>) -> Int? {
        guard name.count > Layout.name.count, Octets.isPlain(name) else { return nil }
        let slash = UInt8(ascii: "/")
        let limit = Layout.prefix.count + 1
        var end = min(name.count, limit)
        if name.count <= limit, name[name.count - 1] == slash { end -= 1 }
        while end > 0, name[end - 1] != slash { end -= 1 }
        let cut = end - 1
        let rest = name.count - end
        return cut > 0 && cut <= Layout.prefix.count && rest >= 1 && rest <= Layout.name.count ? cut : nil
    }
}
