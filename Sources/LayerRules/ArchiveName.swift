import LayerModel

/// The name of an entry, cleaned: no empty components, no `.`, no `..`.
///
/// One buffer is used for all entries.
public struct ArchiveName: Sendable {
    /// The components joined by slashes; empty for the root.
    public private(set) var bytes: [UInt8] = []
    /// Where the last component begins.
    public private(set) var baseStart = 0

    /// Why a name cannot be used.
    public enum Problem: Error {
        /// The name climbs above the root.
        case escapes
    }

    public init() {}

    public var isRoot: Bool { bytes.isEmpty }

    /// The last component.
    public var base: RawSpan {
        @_lifetime(borrow self)
        get { bytes.rawBytes.extracting(baseStart..<bytes.count) }
    }

    /// The directory part without its slash, empty for a name at the top.
    public var directory: RawSpan {
        @_lifetime(borrow self)
        get { bytes.rawBytes.extracting(0..<max(baseStart - 1, 0)) }
    }

    /// Takes `name` apart; `lenient` holds `..` at the root instead of refusing it.
    public mutating func clean(_ name: RawSpan, lenient: Bool) throws(Problem) {
        bytes.removeAll(keepingCapacity: true)
        baseStart = 0
        var position = 0
        while position < name.byteCount {
            var end = position
            while end < name.byteCount, name[end] != UInt8(ascii: "/") { end += 1 }
            let count = end - position
            if count == 2, name[position] == UInt8(ascii: "."), name[position + 1] == UInt8(ascii: ".") {
                if bytes.isEmpty {
                    guard lenient else { throw .escapes }
                } else {
                    removeLast()
                }
            } else if count > 1 || (count == 1 && name[position] != UInt8(ascii: ".")) {
                if !bytes.isEmpty { bytes.append(UInt8(ascii: "/")) }
                baseStart = bytes.count
                for index in position..<end { bytes.append(name[index]) }
            }
            position = end + 1
        }
    }

    private mutating func removeLast() {
        bytes.removeLast(bytes.count - max(baseStart - 1, 0))
        baseStart = bytes.lastIndex(of: UInt8(ascii: "/")).map { $0 + 1 } ?? 0
    }

    /// Where the last component of `name` begins if the part before it is the same for all of a directory's
    /// entries and the component is an ordinary one; nil sends the name through `clean`.
    public static func plainBase(_ name: RawSpan) -> Range<Int>? {
        var end = name.byteCount
        while end > 0, name[end - 1] == UInt8(ascii: "/") { end -= 1 }
        var start = end
        while start > 0, name[start - 1] != UInt8(ascii: "/") { start -= 1 }
        guard start > 0, end > start else { return nil }
        if name[start] == UInt8(ascii: "."),
            end - start == 1 || (end - start == 2 && name[start + 1] == UInt8(ascii: "."))
        {
            return nil
        }
        return start..<end
    }

    /// Where aufs keeps files that have several names; links lead to them.
    public static var keptFiles: StaticString { ".wh..wh.plnk" }

    /// Whether a clean name belongs to aufs's bookkeeping: its first component begins with `.wh..wh.`, and is not the
    /// root's opaque marker.
    public static func isBookkeeping(_ name: RawSpan) -> Bool {
        LayerModel.bytes(name, startWith: WhiteoutName.metaPrefix)
            && !LayerModel.bytes(name, equal: WhiteoutName.opaqueMarker)
    }
}
