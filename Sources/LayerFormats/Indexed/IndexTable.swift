import LayerCompression
public import LayerModel

/// What the table of contents of a layer says, checked against the rules that need no look at the layer itself.
public struct IndexTable: Sendable {
    /// What an entry is, in the table's words.
    public enum Kind: String, Sendable, Equatable {
        case reg, dir, symlink, hardlink, char, block, fifo
    }

    /// A time, in seconds since 1970 and nanoseconds.
    public struct Time: Sendable, Equatable {
        public var seconds: Int64
        public var nanoseconds: Int32
    }

    /// One name; its bytes and its attributes lie in the table.
    public struct Entry: Sendable {
        public var kind = Kind.reg
        var name = 0..<0
        var linkName = 0..<0
        public var mode: UInt32 = 0
        public var size: Int64 = 0
        public var uid: Int64 = 0
        public var gid: Int64 = 0
        /// Absent and 1970 are the same.
        public var modified = Time(seconds: 0, nanoseconds: 0)
        public var accessed = Time(seconds: 0, nanoseconds: 0)
        public var changed = Time(seconds: 0, nanoseconds: 0)
        public var deviceMajor: Int64 = 0
        public var deviceMinor: Int64 = 0
        /// Its attributes, in `attributes`.
        public var attributes = 0..<0
        public var digest: Digest?
        /// Its pieces, in `pieces`; none for what has no contents.
        public var pieces = 0..<0
        /// Where the frame behind its last piece begins, if the table says.
        public var endOffset: UInt64?
    }

    /// A part of a file's contents that can be read alone.
    public struct Piece: Sendable {
        /// Where its frame begins in the layer, and the piece in the frame.
        public var offset: UInt64
        public var innerOffset: Int64
        /// Where it begins in the file.
        public var fileOffset: Int64
        public var byteCount: Int64
        public var digest: Digest?
        public var isZeros: Bool
    }

    struct Attribute: Sendable {
        var name: Range<Int>
        var value: Range<Int>
    }

    public let format: IndexedFormat
    public internal(set) var entries: [Entry] = []
    public internal(set) var pieces: [Piece] = []
    var attributes: [Attribute] = []
    /// Digest of the compressed tar-split.
    public internal(set) var tarSplitDigest: Digest?
    /// Names and values of all entries.
    var texts: [UInt8] = []

    init(_ format: IndexedFormat) { self.format = format }

    /// The name as the table has it.
    @_lifetime(borrow self)
    public func name(_ entry: Entry) -> RawSpan { texts.rawBytes.extracting(entry.name) }

    /// The target of a link as the table has it.
    @_lifetime(borrow self)
    public func linkName(_ entry: Entry) -> RawSpan { texts.rawBytes.extracting(entry.linkName) }

    @_lifetime(borrow self)
    func text(_ range: Range<Int>) -> RawSpan { texts.rawBytes.extracting(range) }
}
