public import LayerModel
public import LinuxIO

/// Contents that lie on this machine already, and that a layer may take from there.
///
/// What it says is a promise only: whoever uses it hashes what comes.
public protocol ReusableContents: Sendable {
    /// A file with all of these contents.
    func file(_ digest: Digest, _ byteCount: Int64) -> ReusedPlace?
    /// A part of a file with these contents.
    func piece(_ digest: Digest, _ byteCount: Int64) -> ReusedPlace?
    /// Opens the file of a place, if it still is what it was when it was looked at.
    func open(_ place: ReusedPlace) -> OwnedDescriptor?
    /// Says that a place does not hold what it promised.
    func reject(_ place: ReusedPlace)
}

/// Where contents lie: a number that their finder knows, and how far into the file they begin.
public struct ReusedPlace: Sendable, Equatable {
    public var file: UInt32
    public var offset: Int64

    public init(file: UInt32, offset: Int64) {
        self.file = file
        self.offset = offset
    }
}

/// What a partial apply fetched and found.
public struct PartialCounts: Sendable, Equatable {
    /// Bytes of the layer that were read, its indexes included.
    public var fetchedBytes: UInt64 = 0
    /// Contents that were taken from this machine, and how many files as a whole.
    public var reusedBytes: UInt64 = 0
    public var reusedFiles = 0
    /// Bytes of runs of zeros.
    public var zeroBytes: UInt64 = 0

    public init() {}
}
