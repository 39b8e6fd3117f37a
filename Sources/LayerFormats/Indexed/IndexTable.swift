import LayerCompression
package import LayerModel

/// What the table of contents of a layer says, checked against the rules that need no look at the layer itself.
package struct IndexTable: Sendable {
    package enum Kind: String, Sendable, Equatable {
        case reg, dir, symlink, hardlink, char, block, fifo
    }

    /// A time, in seconds since 1970 and nanoseconds.
    package struct Time: Sendable, Equatable {
        package var seconds: Int64
        package var nanoseconds: Int32
    }

    package struct Entry: Sendable {
        package var kind = Kind.reg
        var name = 0..<0
        var linkName = 0..<0
        package var mode: UInt32 = 0
        package var size: Int64 = 0
        package var uid: Int64 = 0
        package var gid: Int64 = 0
        /// Absent and 1970 are the same.
        package var modified = Time(seconds: 0, nanoseconds: 0)
        package var accessed = Time(seconds: 0, nanoseconds: 0)
        package var changed = Time(seconds: 0, nanoseconds: 0)
        package var deviceMajor: Int64 = 0
        package var deviceMinor: Int64 = 0
        /// Its attributes, in `attributes`.
        package var attributes = 0..<0
        package var digest: Digest?
        /// Its pieces, in `pieces`; none for what has no contents.
        package var pieces = 0..<0
        /// Where the frame behind its last piece begins, if the table says.
        package var endOffset: UInt64?
    }

    package struct Piece: Sendable {
        /// Where its frame begins in the layer, and the piece in the frame.
        package var offset: UInt64
        package var innerOffset: Int64
        /// Where it begins in the file.
        package var fileOffset: Int64
        package var byteCount: Int64
        package var digest: Digest?
        package var isZeros: Bool
    }

    struct Attribute: Sendable {
        var name: Range<Int>
        var value: Range<Int>
    }

    package let format: IndexedFormat
    package internal(set) var entries: [Entry] = []
    package internal(set) var pieces: [Piece] = []
    var attributes: [Attribute] = []
    /// Digest of the compressed tar-split.
    package internal(set) var tarSplitDigest: Digest?
    /// Names and values of all entries.
    var texts: [UInt8] = []

    init(_ format: IndexedFormat) { self.format = format }

    /// The name as the table has it.
    @_lifetime(borrow self)
    package func name(_ entry: Entry) -> RawSpan { texts.rawBytes.extracting(entry.name) }

    /// The target of a link as the table has it.
    @_lifetime(borrow self)
    package func linkName(_ entry: Entry) -> RawSpan { texts.rawBytes.extracting(entry.linkName) }

    @_lifetime(borrow self)
    func text(_ range: Range<Int>) -> RawSpan { texts.rawBytes.extracting(range) }
}
