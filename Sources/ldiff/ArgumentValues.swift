import ArgumentParser
import LayerCompression
import LayerEngine
import LayerFormats
import LayerModel
import LinuxIO

extension IOMode: ExpressibleByArgument {}
extension LayerProfile: ExpressibleByArgument {}
extension DiffOptions.ReservedNamesPolicy: ExpressibleByArgument {}
extension SparsePolicy: ExpressibleByArgument {}
extension DirectoryAttributes: ExpressibleByArgument {}
extension WhiteoutDialect.Name: ExpressibleByArgument {}

/// What `--compress` takes.
enum CompressionName: String, CaseIterable, ExpressibleByArgument {
    case none, gzip, zstd
    case zstdChunked = "zstd:chunked"
    case estargz

    var format: LayerFormat {
        switch self {
        case .none: .none
        case .gzip, .estargz: .gzip
        case .zstd, .zstdChunked: .zstd
        }
    }

    /// The levels there are; nil where nothing is compressed.
    var levels: ClosedRange<Int>? {
        switch self {
        case .none: nil
        case .gzip, .estargz: GzipLevel.range
        case .zstd, .zstdChunked: ZstdLevel.range
        }
    }

    /// The format of the index, for those that have one.
    var indexed: IndexedFormat? { IndexedFormat(rawValue: rawValue) }
}

/// When and how it is told how far a job is.
enum ProgressMode: String, CaseIterable, ExpressibleByArgument {
    case auto, always, never
    /// Lines for programs.
    case json
}

/// One run of an id map, `CONTAINER:HOST:COUNT`.
struct IDRange: ExpressibleByArgument {
    var range: IDMap.Range

    init?(argument: String) {
        guard let range = IDMap.parseRange(argument) else { return nil }
        self.range = range
    }
}

/// A pattern for paths.
struct PatternArgument: ExpressibleByArgument {
    var pattern: PathPattern

    init?(argument: String) {
        do throws(LayerError) { pattern = try PathPattern(RawArguments.bytes(argument)) } catch { return nil }
    }
}

/// A SHA-256 digest, `sha256:` and 64 hexadecimal digits.
struct DigestArgument: ExpressibleByArgument {
    var digest: Digest

    init?(argument: String) {
        guard let digest = Digest(parsing: argument) else { return nil }
        self.digest = digest
    }
}

/// A number of bytes, perhaps in units of 1024: `K`, `M`, `G`, `T`.
struct ByteCount: ExpressibleByArgument {
    var bytes: UInt64

    init?(argument: String) {
        var digits = argument[...]
        var shift: UInt64 = 0
        let units = ["K": 10, "M": 20, "G": 30, "T": 40] as [String: UInt64]
        if let last = digits.last, let unit = units[last.uppercased()] {
            shift = unit
            digits.removeLast()
        }
        guard let number = UInt64(digits), number <= UInt64.max >> shift else { return nil }
        bytes = number << shift
    }
}
