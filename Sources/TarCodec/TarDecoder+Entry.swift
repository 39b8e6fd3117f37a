/// Putting an entry together from its header and the meta entries in front of it.
extension TarDecoder {
    /// Takes a header that stands for an entry.
    @inline(__always)
    mutating func takeEntry() -> TarProblem? {
        // Meta entries count for this one only; they stay readable until the next header.
        let usesMeta = hasMeta
        if !usesMeta && (!pax.isEmpty || !longName.isEmpty || !longLink.isEmpty) { forgetMeta() }
        hasMeta = false
        fields = header.fields
        accessTime = header.accessSeconds.map { ($0, 0) }
        isSparse = false
        placeHeaderTexts()
        if usesMeta, let problem = applyMeta() { return problem }
        if fields.type == TarType.legacyRegular {
            fields.type = isNameSlashed ? TarType.directory : TarType.regular
        }
        storedByteCount = TarType.isBodyless(fields.type) ? 0 : fields.size
        if fields.type == TarType.gnuSparse { return startOldSparse() }
        if usesMeta {
            let version = pax.sparseVersion
            if version != .none { return startPaxSparse(version) }
        }
        return finishEntry()
    }

    private var isNameSlashed: Bool {
        let name = text(texts.name)
        return name.count > 0 && name[name.count - 1] == UInt8(ascii: "/")
    }

    /// Checks the names and turns to the body.
    @inline(__always)
    mutating func finishEntry() -> TarProblem? {
        if texts.name.count > limits.nameComponent || texts.name.count > limits.name {
            if texts.name.count > limits.name { return TarProblem(.nameTooLong, .nameTooLong) }
            if hasLongComponent() { return TarProblem(.nameTooLong, .componentTooLong) }
        }
        if texts.linkName.count > limits.name { return TarProblem(.nameTooLong, .linkNameTooLong) }
        remaining = storedByteCount
        remainingPadding = padding
        state = .body
        return nil
    }

    private func hasLongComponent() -> Bool {
        let name = text(texts.name)
        var end = name.count
        var isLast = true
        while end > 0 {
            if name[end - 1] == UInt8(ascii: "/") {
                end -= 1
                continue
            }
            var start = end - 1
            while start > 0, name[start - 1] != UInt8(ascii: "/") { start -= 1 }
            let isMark = isLast && Octets.hasPrefix(name.extracting(start..<end), ".wh.")
            if end - start > limits.nameComponent + (isMark ? 4 : 0) { return true }
            isLast = false
            end = start
        }
        return false
    }

    /// Notes where the header has its names; a prefix is joined with the name (R2, R3).
    @inline(__always)
    private mutating func placeHeaderTexts() {
        texts.name = TextPlace(.header, Layout.name.start, header.nameCount)
        texts.linkName = TextPlace(.header, Layout.linkName.start, header.linkCount)
        texts.userName = TextPlace(.header, Layout.userName.start, header.userCount)
        texts.groupName = TextPlace(.header, Layout.groupName.start, header.groupCount)
        guard header.prefixCount > 0 else { return }
        let prefix = Layout.prefix.start
        joinedName.removeAll(keepingCapacity: true)
        joinedName.append(contentsOf: block[prefix..<prefix + header.prefixCount])
        joinedName.append(UInt8(ascii: "/"))
        joinedName.append(contentsOf: block[0..<header.nameCount])
        texts.name = TextPlace(.joined, 0, joinedName.count)
    }

    /// Applies PAX records, then the GNU long names, which win over them (R4).
    private mutating func applyMeta() -> TarProblem? {
        if !pax.isEmpty, let problem = applyPax() { return problem }
        if !longName.isEmpty { texts.name = TextPlace(.longName, 0, longName.count) }
        if !longLink.isEmpty { texts.linkName = TextPlace(.longLink, 0, longLink.count) }
        return nil
    }

    private mutating func applyPax() -> TarProblem? {
        if pax.has(.path) { texts.name = paxPlace(.path) }
        if pax.has(.linkPath) { texts.linkName = paxPlace(.linkPath) }
        if pax.has(.userName) { texts.userName = paxPlace(.userName) }
        if pax.has(.groupName) { texts.groupName = paxPlace(.groupName) }
        let badNumber = TarProblem(.invalidHeader, .badPaxNumber)
        if pax.has(.uid) {
            guard let uid = pax.number(.uid) else { return badNumber }
            fields.uid = uid
        }
        if pax.has(.gid) {
            guard let gid = pax.number(.gid) else { return badNumber }
            fields.gid = gid
        }
        if pax.has(.size) {
            guard let size = pax.number(.size) else { return badNumber }
            guard size >= 0 else { return TarProblem(.invalidHeader, .negativeSize) }
            fields.size = size
        }
        let badTime = TarProblem(.invalidHeader, .badPaxTime)
        // GNU tar has them right already, libarchive writes the rights of the owning group there.
        if let mask = pax.accessMask { fields.mode = fields.mode & ~0o070 | mask << 3 }
        if let limit = pax.accessLimit { fields.mode = limit.applied(to: fields.mode) }
        if pax.has(.mtime) {
            guard let time = PaxReader.time(pax.value(.mtime)) else { return badTime }
            fields.mtimeSeconds = time.seconds
            fields.mtimeNanoseconds = time.nanoseconds
        }
        if pax.has(.atime) {
            guard let time = PaxReader.time(pax.value(.atime)) else { return badTime }
            accessTime = time
        }
        // A change time cannot be set, but a bad one shows that the archive is damaged.
        if pax.has(.ctime), PaxReader.time(pax.value(.ctime)) == nil { return badTime }
        return nil
    }

    func paxPlace(_ key: PaxValues.Key) -> TextPlace {
        let range = pax.range(key)
        return TextPlace(.pax, range.lowerBound, range.count)
    }
}
