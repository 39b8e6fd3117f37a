/// The name of a layer in a store: an opaque string that is also the name of a directory or dataset.
///
/// Docker uses 64 hexadecimal digits, with `-init` for a container's first layer; BuildKit 25 letters and digits.
/// Nothing is read out of it.
public struct LayerID: Hashable, Sendable, CustomStringConvertible {
    /// The name as a path component.
    public let component: PathBytes

    /// Longest id: what a file name may have, less room for the suffixes that stores add.
    public static let maxByteCount = 240

    /// Takes `bytes` if a directory entry could be called so.
    ///
    /// Throws `invalidArgument` for an empty id, `.`, `..`, one with a slash or NUL, or one that is too long.
    public init(_ bytes: PathBytes) throws(LayerError) {
        let refusal: String? =
            if bytes.bytes.isEmpty {
                "the id is empty"
            } else if bytes == PathBytes(".") || bytes == PathBytes("..") {
                "it names a directory, not a layer"
            } else if bytes.bytes.contains(UInt8(ascii: "/")) || bytes.bytes.contains(0) {
                "an id has no slashes and no NUL"
            } else if bytes.bytes.count > Self.maxByteCount {
                "it is longer than \(Self.maxByteCount) bytes"
            } else {
                nil
            }
        if let refusal {
            // A whole one of any length is nothing for an answer or a log.
            let shown = PathBytes(Array(bytes.bytes.prefix(Self.maxByteCount)))
            throw LayerError(.invalidArgument, "use the layer id", path: shown, cause: .reason(refusal))
        }
        component = bytes
    }

    /// As `init(_:)` of bytes, for the UTF-8 bytes of `text`.
    public init(_ text: String) throws(LayerError) { try self.init(PathBytes(text)) }

    /// An id read from a store's own directory or file.
    public init(trusted component: PathBytes) { self.component = component }

    public var description: String { component.description }
}

extension LayerID: Comparable {
    public static func < (left: LayerID, right: LayerID) -> Bool {
        left.component.bytes.lexicographicallyPrecedes(right.component.bytes)
    }
}
