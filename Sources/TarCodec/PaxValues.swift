/// The records of the PAX header in front of an entry: of each key the last one counts (R4, R5).
struct PaxValues {
    enum Key: Int, CaseIterable {
        case path, linkPath, userName, groupName, uid, gid, size, mtime, atime, ctime
        case sparseName, sparseMajor, sparseMinor, sparseSize, sparseRealSize, sparseBlocks, sparseMap
        case accessAcl, defaultAcl

        /// Whether the value is a name, which may not contain NUL (R11).
        var isName: Bool {
            switch self {
            case .path, .linkPath, .userName, .groupName, .sparseName: true
            default: false
            }
        }

        init?(_ key: Span<UInt8>) {
            guard key.count > 0, let only = Self.candidate(key), Octets.equals(key, only.text) else { return nil }
            self = only
        }

        /// The one key that has the same length and first byte, or one more byte where two have these.
        private static func candidate(_ key: Span<UInt8>) -> Self? {
            switch (key.count, key[0]) {
            case (3, UInt8(ascii: "u")): .uid
            case (3, UInt8(ascii: "g")): .gid
            case (4, UInt8(ascii: "p")): .path
            case (4, UInt8(ascii: "s")): .size
            case (5, UInt8(ascii: "m")): .mtime
            case (5, UInt8(ascii: "a")): .atime
            case (5, UInt8(ascii: "c")): .ctime
            case (5, UInt8(ascii: "u")): .userName
            case (5, UInt8(ascii: "g")): .groupName
            case (8, UInt8(ascii: "l")): .linkPath
            case (14, UInt8(ascii: "G")): .sparseMap
            case (15, UInt8(ascii: "G")): key[11] == UInt8(ascii: "n") ? .sparseName : .sparseSize
            case (16, UInt8(ascii: "G")): key[12] == UInt8(ascii: "a") ? .sparseMajor : .sparseMinor
            case (17, UInt8(ascii: "S")): .accessAcl
            case (18, UInt8(ascii: "S")): .defaultAcl
            case (19, UInt8(ascii: "G")): .sparseRealSize
            case (20, UInt8(ascii: "G")): .sparseBlocks
            default: nil
            }
        }

        private var text: String {
            switch self {
            case .path: "path"
            case .linkPath: "linkpath"
            case .userName: "uname"
            case .groupName: "gname"
            case .uid: "uid"
            case .gid: "gid"
            case .size: "size"
            case .mtime: "mtime"
            case .atime: "atime"
            case .ctime: "ctime"
            case .sparseName: "GNU.sparse.name"
            case .sparseMajor: "GNU.sparse.major"
            case .sparseMinor: "GNU.sparse.minor"
            case .sparseSize: "GNU.sparse.size"
            case .sparseRealSize: "GNU.sparse.realsize"
            case .sparseBlocks: "GNU.sparse.numblocks"
            case .sparseMap: "GNU.sparse.map"
            case .accessAcl: "SCHILY.acl.access"
            case .defaultAcl: "SCHILY.acl.default"
            }
        }
    }

    /// The payload, filled by the decoder as it arrives.
    var payload: [UInt8] = []
    private var values = [Range<Int>](repeating: 0..<0, count: Key.allCases.count)
    var attributes = AttributeList()
    /// The sparse map of format 0.0, whose keys repeat.
    var sparse = SparseMap()
    private var hasRecords = false
    /// A list of access rights could not be understood.
    private(set) var hasUnusableAccessControl = false
    /// The mask of a list of access rights: on disk it stands in the place of the group's bits of the mode.
    private(set) var accessMask: UInt32?
    /// What a list that could not be understood leaves of the mode.
    private(set) var accessLimit: AccessLimit?
    private var nameScratch: [UInt8] = []
    private var valueScratch: [UInt8] = []

    var isEmpty: Bool { !hasRecords }

    mutating func removeAll() {
        guard hasRecords || !payload.isEmpty else { return }
        payload.removeAll(keepingCapacity: true)
        for index in values.indices { values[index] = 0..<0 }
        attributes.removeAll()
        sparse.removeAll()
        hasRecords = false
        hasUnusableAccessControl = false
        accessMask = nil
        accessLimit = nil
    }

    /// The value of a key; empty when there is none, since an empty value means the same (R4).
    @_lifetime(borrow self)
    func value(_ key: Key) -> Span<UInt8> { payload.span.extracting(values[key.rawValue]) }

    func range(_ key: Key) -> Range<Int> { values[key.rawValue] }

    func has(_ key: Key) -> Bool { !values[key.rawValue].isEmpty }

    /// The number of a key, or nil when it is malformed; only for keys that are there.
    func number(_ key: Key) -> Int64? { PaxReader.decimal(value(key)) }

    enum SparseVersion {
        case none, mapInRecords, mapInBody, unknown
    }

    /// Which sparse form the records make the entry, if any.
    var sparseVersion: SparseVersion {
        let major = value(.sparseMajor)
        let minor = value(.sparseMinor)
        if major.count == 0 && minor.count == 0 {
            // Formats 0.0 and 0.1 need not name their version.
            return has(.sparseMap) || has(.sparseBlocks) || sparse.count > 0 ? .mapInRecords : .none
        }
        if Octets.equals(major, "1") && Octets.equals(minor, "0") { return .mapInBody }
        let isOld = Octets.equals(major, "0") && (Octets.equals(minor, "0") || Octets.equals(minor, "1"))
        return isOld ? .mapInRecords : .unknown
    }

    /// Reads the map of format 0.1.
    func readMap(into map: inout SparseMap, announced: Int64, _ limits: TarLimits) -> TarProblem? {
        map.takeList(value(.sparseMap), announced: announced, limits)
    }

    /// Takes the finished payload apart.
    mutating func parse(_ limits: TarLimits) -> TarProblem? {
        hasRecords = true
        let bytes = payload
        var at = 0
        while true {
            switch PaxReader.next(in: bytes.span, at: &at) {
            case .end:
                takeAccessControl(bytes.span, .accessAcl, "system.posix_acl_access")
                takeAccessControl(bytes.span, .defaultAcl, "system.posix_acl_default")
                attributes.sortAndMerge()
                return sparse.hasHalfExtent ? TarProblem(.invalidHeader, .badSparseMap) : nil
            case .malformed:
                return TarProblem(.invalidHeader, .badPaxRecord)
            case .record(let key, let value):
                if let problem = take(bytes.span, key, value, limits) { return problem }
            }
        }
    }

    /// Adds a list written as text as the attribute that it is on disk; the attribute itself counts more.
    private mutating func takeAccessControl(_ bytes: Span<UInt8>, _ key: Key, _ name: String) {
        let text = bytes.extracting(values[key.rawValue])
        guard text.count > 0 else { return }
        for index in 0..<attributes.count where Octets.equals(attributes.name(index), name) { return }
        guard let value = AccessControlText.attribute(text) else {
            hasUnusableAccessControl = true
            if key == .accessAcl { accessLimit = AccessControlText.limit(text) }
            return
        }
        attributes.append(name: Array(name.utf8), value: value)
        if key == .accessAcl { accessMask = AccessControlText.mask(of: value) }
    }

    private mutating func take(
        _ bytes: Span<UInt8>, _ keyRange: Range<Int>, _ valueRange: Range<Int>, _ limits: TarLimits
    ) -> TarProblem? {
        let key = bytes.extracting(keyRange)
        let value = bytes.extracting(valueRange)
        let attribute = "SCHILY.xattr."
        let encodedAttribute = "LIBARCHIVE.xattr."
        if Octets.hasPrefix(key, attribute) {
            let name = key.extracting(attribute.utf8.count...)
            guard name.count > 0 else { return TarProblem(.invalidHeader, .badPaxRecord) }
            attributes.append(name: name, value: value, rank: 1)
        } else if Octets.hasPrefix(key, encodedAttribute) {
            guard PaxReader.decodePercent(key.extracting(encodedAttribute.utf8.count...), into: &nameScratch),
                PaxReader.decodeBase64(value, into: &valueScratch)
            else { return TarProblem(.invalidHeader, .badAttributeEncoding) }
            attributes.append(name: nameScratch, value: valueScratch)
        } else if Octets.equals(key, "GNU.sparse.offset") {
            return sparse.takeOffset(PaxReader.decimal(value))
        } else if Octets.equals(key, "GNU.sparse.numbytes") {
            return sparse.takeLength(PaxReader.decimal(value), limits)
        } else if let known = Key(key) {
            if known.isName && Octets.containsNul(value) { return TarProblem(.invalidHeader, .nulInPaxRecord) }
            values[known.rawValue] = valueRange
        }
        return nil
    }
}

/// A `TarError` that does not know its offset yet.
struct TarProblem {
    let kind: TarError.Kind
    let reason: TarReason

    init(_ kind: TarError.Kind, _ reason: TarReason) {
        self.kind = kind
        self.reason = reason
    }
}
