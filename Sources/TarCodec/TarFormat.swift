/// The type flags of tar headers, as the byte that stands in the header (W3, R7).
public enum TarType {
    /// Type NUL of old archives; the decoder never surfaces it, it becomes `regular` or `directory` (R7).
    public static let legacyRegular: UInt8 = 0
    public static let regular = UInt8(ascii: "0")
    public static let hardLink = UInt8(ascii: "1")
    public static let symbolicLink = UInt8(ascii: "2")
    public static let character = UInt8(ascii: "3")
    public static let block = UInt8(ascii: "4")
    public static let directory = UInt8(ascii: "5")
    public static let fifo = UInt8(ascii: "6")
    public static let contiguous = UInt8(ascii: "7")
    public static let paxHeader = UInt8(ascii: "x")
    public static let paxGlobal = UInt8(ascii: "g")
    public static let gnuLongName = UInt8(ascii: "L")
    public static let gnuLongLink = UInt8(ascii: "K")
    public static let gnuSparse = UInt8(ascii: "S")
    public static let gnuVolume = UInt8(ascii: "V")

    /// Whether entries of this type never carry a body, whatever their size says (R7).
    @inlinable public static func isBodyless(_ type: UInt8) -> Bool { type >= hardLink && type <= fifo }
}

/// The numbers of one entry; its names travel beside it as spans.
public struct TarFields: BitwiseCopyable, Sendable, Equatable {
    /// One of `TarType`, or a byte this module does not know.
    public var type: UInt8
    /// Mode as in the header, file-type bits included when the writer put them there.
    public var mode: UInt32
    public var uid: Int64
    public var gid: Int64
    /// Bytes of the file: for sparse entries the expanded size; for bodyless types whatever the header claims.
    public var size: Int64
    /// Seconds since 1970, rounded down.
    public var mtimeSeconds: Int64
    /// 0 ... 999,999,999.
    public var mtimeNanoseconds: Int32
    public var deviceMajor: Int64
    public var deviceMinor: Int64

    /// A regular file with every number zero.
    public init() {
        type = TarType.regular
        mode = 0
        uid = 0
        gid = 0
        size = 0
        mtimeSeconds = 0
        mtimeNanoseconds = 0
        deviceMajor = 0
        deviceMinor = 0
    }
}

/// How the encoder picks the form of a header.
public enum TarWriteFormat: Sendable {
    /// USTAR when it suffices, else PAX (W4–W9). The time is rounded down to whole seconds.
    case pax
    /// The same with the time to the nanosecond.
    case exact
    /// USTAR, else PAX, else GNU, with the time rounded to the nearest second (W11).
    case unspecified
}

/// Bounds the decoder keeps, so that an archive cannot make it use much memory.
public struct TarLimits: Sendable {
    /// Bytes of one meta payload: PAX records, GNU long name, GNU long link (R4).
    public var metaPayload = 1 << 20
    /// Data extents of one sparse file (R8).
    public var sparseExtents = 65_536
    /// Bytes of a sparse map, as text or as extension blocks (R8).
    public var sparseMapText = 1 << 20
    /// Bytes of a name or link name (R11).
    public var name = 4095
    /// Bytes between two slashes of a name (R11). The last component may have four more if it begins with `.wh.`: it marks
    /// the deletion of a name that has no more than this, and never becomes a name itself.
    public var nameComponent = 255

    public init() {}
}

/// Sizes and places inside a 512-byte header.
enum Layout {
    static let blockSize = 512

    struct Field {
        let start: Int
        let count: Int

        init(_ start: Int, _ count: Int) {
            self.start = start
            self.count = count
        }

        @inline(__always) var range: Range<Int> { start..<start &+ count }
    }

    static var name: Field { Field(0, 100) }
    static var mode: Field { Field(100, 8) }
    static var uid: Field { Field(108, 8) }
    static var gid: Field { Field(116, 8) }
    static var size: Field { Field(124, 12) }
    static var mtime: Field { Field(136, 12) }
    static var checksum: Field { Field(148, 8) }
    static let type = 156
    static var linkName: Field { Field(157, 100) }
    static let magic = 257
    static var userName: Field { Field(265, 32) }
    static var groupName: Field { Field(297, 32) }
    static var deviceMajor: Field { Field(329, 8) }
    static var deviceMinor: Field { Field(337, 8) }
    static var prefix: Field { Field(345, 155) }

    // star: a shorter prefix, two times behind it, and a mark at the end.
    static var starPrefix: Field { Field(345, 131) }
    static var starAccessTime: Field { Field(476, 12) }
    static var starChangeTime: Field { Field(488, 12) }
    static let starTrailer = 508

    // Old GNU: times where ustar has the prefix, then the first four entries of a sparse map.
    static var gnuAccessTime: Field { Field(345, 12) }
    static var gnuChangeTime: Field { Field(357, 12) }
    static let gnuSparseMap = 386
    static let gnuSparseMapEntries = 4
    static let gnuIsExtended = 482
    static var gnuRealSize: Field { Field(483, 12) }
    static let extensionEntries = 21
    static let extensionIsExtended = 504
}
