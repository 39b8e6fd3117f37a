/// Why an archive was refused, or a header could not be written.
public struct TarError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The kinds that callers treat differently.
    public enum Kind: Sendable {
        case invalidHeader
        case unexpectedEOF
        /// A meta payload is larger than allowed.
        case fieldTooLong
        case nameTooLong
        case limitExceeded
        case unsupportedType
        /// The encoder was given something no header can say.
        case cannotEncode
    }

    public let kind: Kind
    /// Where the header block starts, in bytes of the uncompressed stream; 0 from the encoder.
    public let offset: UInt64
    public let reason: TarReason

    public init(_ kind: Kind, _ reason: TarReason, offset: UInt64 = 0) {
        self.kind = kind
        self.offset = offset
        self.reason = reason
    }

    public var description: String { "\(reason.description) (header at byte \(offset))" }
}

/// The precise cause of a `TarError`.
public enum TarReason: UInt8, Sendable, CustomStringConvertible {
    case badChecksum, badNumber, negativeSize, blockAfterZeroBlock
    case truncatedHeader, truncatedMeta, truncatedBody, truncatedSparseMap
    case metaTooLong, badPaxRecord, nulInPaxRecord, badPaxNumber, badPaxTime, badAttributeEncoding
    case sparseInWrongFormat, badSparseMap, sparseMapTooLong, sparseSizeMismatch, unknownSparseVersion
    case nameTooLong, componentTooLong, linkNameTooLong
    case typeNotWritable, trailingSlash, negativeNumber, numberTooLarge, nulInName, badAttributeName
    case recordsTooLong

    public var description: String {
        switch self {
        case .badChecksum: "the header's checksum is wrong"
        case .badNumber: "a number in the header is malformed or too large"
        case .negativeSize: "the size is negative"
        case .blockAfterZeroBlock: "a single zero block is followed by data"
        case .truncatedHeader: "the archive ends inside a header"
        case .truncatedMeta: "the archive ends inside an extended header"
        case .truncatedBody: "the archive ends inside a file"
        case .truncatedSparseMap: "the archive ends inside a sparse map"
        case .metaTooLong: "an extended header is too long"
        case .badPaxRecord: "a PAX record is malformed"
        case .nulInPaxRecord: "a PAX record has a NUL where none may be"
        case .badPaxNumber: "a number in a PAX record is malformed or too large"
        case .badPaxTime: "a time in a PAX record is malformed or too large"
        case .badAttributeEncoding: "a LIBARCHIVE.xattr record is not well encoded"
        case .sparseInWrongFormat: "a sparse file is marked in a header that cannot have one"
        case .badSparseMap: "a sparse map is malformed, unsorted or outside its file"
        case .sparseMapTooLong: "a sparse map is too long"
        case .sparseSizeMismatch: "a sparse map does not fit the stored data"
        case .unknownSparseVersion: "the version of a sparse file is not known"
        case .nameTooLong: "the name is too long"
        case .componentTooLong: "a component of the name is too long"
        case .linkNameTooLong: "the link name is too long"
        case .typeNotWritable: "entries of this type cannot be written"
        case .trailingSlash: "only the name of a directory or link may end in a slash"
        case .negativeNumber: "a number may not be negative"
        case .numberTooLarge: "a number does not fit in any header"
        case .nulInName: "a name has a NUL in it"
        case .badAttributeName: "an attribute's name is empty or has '=' or NUL in it"
        case .recordsTooLong: "the PAX records of one entry are too long"
        }
    }
}
