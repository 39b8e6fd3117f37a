import LayerCompression
import LayerEngine
public import LayerModel
import LayerPipeline

/// A layer that was written: what a manifest says of it, and what was met on the way.
public struct LayerDescriptor: Sendable, Equatable {
    /// The OCI media type of what was written.
    public var mediaType: String
    /// Bytes written.
    public var byteCount: UInt64
    /// Digest of the bytes written, if digests were asked for.
    public var digest: Digest?
    /// Digest of the uncompressed tar, if digests were asked for.
    public var diffID: Digest?
    /// What was met on the way.
    public var report: LayerWriteReport

    init(_ written: LayerExportReport) {
        mediaType = written.mediaType
        byteCount = written.outputBytes
        digest = written.outputDigest
        diffID = written.diffID
        report = LayerWriteReport(written.layer)
    }
}

/// What was written of a tree.
public struct LayerWriteReport: Sendable, Equatable {
    /// Headers with a name of their own: entries, whiteouts and markers.
    public var entries: Int
    /// Bytes of the uncompressed tar.
    public var bytes: UInt64
    /// Bytes of file contents, each inode once.
    public var contentBytes: UInt64
    /// Sockets, which have no place in a layer.
    public var skippedSockets: Int
    /// Names that begin with `.wh.`, which would mean deletions: left out by the profile `full`, written by others.
    public var reservedNames: Int
    /// What could not be read, where that was allowed.
    public var skippedUnreadable: Int
    /// Files that vanished while the layer was written.
    public var skippedVanished: Int
    /// The first hundred things worth knowing, a line each.
    public var warnings: [String]

    init(_ report: DiffReport) {
        entries = report.entries
        bytes = report.bytes
        contentBytes = report.size
        skippedSockets = report.skippedSockets
        reservedNames = report.reservedNames
        skippedUnreadable = report.skippedUnreadable
        skippedVanished = report.skippedVanished
        warnings = report.warnings
    }
}

/// A layer that was applied.
public struct LayerApplyReport: Sendable, Equatable {
    /// Entries of the layer, whiteouts included.
    public var entries: Int
    /// Bytes of the uncompressed stream.
    public var bytes: UInt64
    /// What the layer counts as: the sizes that its headers name, or in a store what its driver says.
    public var contentBytes: UInt64
    /// Compressed bytes read.
    public var inputBytes: UInt64
    /// Digest of the bytes read, if it was asked for or expected.
    public var digest: Digest?
    /// Digest of the uncompressed tar, if it was asked for or expected.
    public var diffID: Digest?
    /// Whether the directory or the stored layer was made.
    public var isNew: Bool
    /// Device nodes left out because this user may not make them.
    public var skippedDevices: Int
    /// The first hundred things worth knowing, a line each.
    public var warnings: [String]

    init(_ report: ApplyReport, _ stream: LayerSummary, contentBytes: UInt64, isNew: Bool) {
        entries = report.entries
        bytes = stream.uncompressedBytes
        self.contentBytes = contentBytes
        inputBytes = stream.compressedBytes
        digest = stream.compressedDigest ?? (stream.format == .none ? stream.diffID : nil)
        diffID = stream.diffID
        self.isNew = isNew
        skippedDevices = report.skippedDevices
        warnings = report.warnings
    }
}

/// What changed between two trees, sorted by the bytes of the paths.
public struct LayerChanges: Sendable, Equatable, RandomAccessCollection {
    /// One name that changed.
    public struct Change: Sendable, Equatable {
        /// What became of it.
        public enum Kind: Sendable {
            /// It was not there before.
            case added
            /// It was there, and differs.
            case modified
            /// It was there, and is not any more.
            case deleted
        }
        /// What became of the name.
        public var kind: Kind
        /// Its path in the tree, which begins with a slash.
        public var path: PathBytes
    }

    private var kinds: [Change.Kind] = []
    /// Paths one behind the other: a million of them are two allocations.
    private var bytes: [UInt8] = []
    private var ends: [Int] = []
    /// What could not be read, where that was allowed.
    public internal(set) var skippedUnreadable = 0
    /// Things worth knowing, a line each.
    public internal(set) var warnings: [String] = []

    init() {}

    mutating func append(_ kind: ChangeKind, _ path: RawSpan) {
        let kind: Change.Kind =
            switch kind {
            case .added: .added
            case .modified, .unmodified: .modified
            case .deleted: .deleted
            }
        kinds.append(kind)
        // Reason: the bytes are copied during the call.
        unsafe path.withUnsafeBytes { unsafe bytes.append(contentsOf: $0) }
        ends.append(bytes.count)
    }

    public var startIndex: Int { 0 }
    public var endIndex: Int { ends.count }
    public subscript(position: Int) -> Change {
        let start = position == 0 ? 0 : ends[position - 1]
        return Change(kind: kinds[position], path: PathBytes(Array(bytes[start..<ends[position]])))
    }
}

/// How large a difference is, in bytes by each way of counting.
public struct LayerSize: Sendable, Equatable {
    /// The number that Docker's API gives: bytes of all changed files, each inode once.
    public var contentBytes: UInt64
    /// Bytes allocated on disk, directories included.
    public var allocatedBytes: UInt64
    /// Bytes that the headers of the layer would name.
    public var headerBytes: UInt64
    /// Names that differ, whiteouts included.
    public var entries: UInt64
    /// Files and directories, each once whatever the number of its names.
    public var inodes: UInt64
    /// What could not be read, where that was allowed.
    public var skippedUnreadable: Int
    /// Things worth knowing, a line each.
    public var warnings: [String]

    init(_ report: SizeReport) {
        contentBytes = report.bytes
        allocatedBytes = report.allocated
        headerBytes = report.headerSum
        entries = report.entries
        inodes = report.inodes
        skippedUnreadable = report.skippedUnreadable
        warnings = report.warnings
    }
}

#if Foundation
    // With the trait Foundation the values of a report can be kept and sent as Codable's coders do it. Digests are their texts.
    extension LayerDescriptor: Codable {}
    extension LayerWriteReport: Codable {}
    extension LayerApplyReport: Codable {}
    extension LayerSize: Codable {}

    extension Digest: Codable {
        public init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            let text = try container.decode(String.self)
            guard let digest = Digest(parsing: text) else {
                throw DecodingError.dataCorruptedError(
                    in: container, debugDescription: "\(text) is not sha256: and 64 hexadecimal digits")
            }
            self = digest
        }

        public func encode(to encoder: any Encoder) throws {
            var container = encoder.singleValueContainer()
            try container.encode(description)
        }
    }
#endif
