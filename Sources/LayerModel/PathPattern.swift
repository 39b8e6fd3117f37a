/// A pattern for whole paths, in bytes: `usr/share/doc`, `**/*.pyc`, `var/cache/**`.
///
/// It begins at the root of the tree, a leading slash or none. Between slashes `*` stands for any bytes, `?` for any one byte,
/// and `\` takes the next byte as it is; `**` alone between slashes stands for any number of directories, also none, and at
/// the end for all that lies below. There is nothing else: brackets and braces mean themselves.
public struct PathPattern: Sendable, Hashable, CustomStringConvertible {
    /// The pattern as it was written.
    public let bytes: [UInt8]
    /// The bytes of all components, and where each ends.
    private let text: [UInt8]
    private let parts: [Part]

    private struct Part: Sendable, Hashable {
        var range: Range<Int>
        /// Any number of directories.
        var isAny = false
        /// Without `*`, `?` and `\`.
        var isPlain = true
    }

    /// Components that a pattern has at most: one bit of a word each.
    private static let mostParts = 60

    /// The pattern that `bytes` spell. Throws `invalidArgument` for one that no path can have: an empty one, and one
    /// with `.`, `..` or a NUL.
    public init(_ bytes: [UInt8]) throws(LayerError) {
        self.bytes = bytes
        var text: [UInt8] = []
        var parts: [Part] = []
        for part in bytes.split(separator: UInt8(ascii: "/")) {
            let isAny = part.elementsEqual("**".utf8)
            guard !part.elementsEqual(".".utf8), !part.elementsEqual("..".utf8), !part.contains(0) else {
                throw Self.refused(bytes, "it has a component that no path inside a tree has")
            }
            // Two in a row are one.
            if isAny, parts.last?.isAny == true { continue }
            let isPlain = !part.contains { Self.isSpecial($0) }
            parts.append(Part(range: text.count..<text.count + part.count, isAny: isAny, isPlain: isPlain))
            text += part
        }
        guard !parts.isEmpty else { throw Self.refused(bytes, "it is empty") }
        // At the end: one name at least, and what stands above it is not meant.
        if parts.last?.isAny == true {
            parts.append(Part(range: text.count..<text.count + 1, isPlain: false))
            text.append(UInt8(ascii: "*"))
        }
        guard parts.count <= Self.mostParts else {
            throw Self.refused(bytes, "it has more than \(Self.mostParts) components")
        }
        self.text = text
        self.parts = parts
    }

    /// The pattern that `text` spells, as UTF-8.
    public init(_ text: String) throws(LayerError) { try self.init(Array(text.utf8)) }

    /// The pattern as text, bytes that are none escaped.
    public var description: String { escapedText(bytes) }

    private static func refused(_ bytes: [UInt8], _ reason: String) -> LayerError {
        LayerError(
            .invalidArgument, "take the pattern", path: PathBytes(bytes), cause: .reason(reason),
            hint: "a pattern is a path from the root of the tree, with *, ? and **, such as usr/share/doc or **/*.pyc")
    }

    private static func isSpecial(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: "*") || byte == UInt8(ascii: "?") || byte == UInt8(ascii: "\\")
    }

    // MARK: matching

    /// What a pattern says of a path.
    package enum Match: Int, Comparable, Sendable {
        /// Nothing, nor of anything below it.
        case none
        /// Something below it may match.
        case above
        /// It matches, or a directory above it does.
        case full

        package static func < (left: Match, right: Match) -> Bool { left.rawValue < right.rawValue }
    }

    /// What the pattern says of a path without a leading slash. Allocates nothing.
    package func match(_ path: RawSpan) -> Match {
        // A bit for each place in the pattern that the components so far may have led to.
        var places = opened(1)
        var start = 0
        while start < path.byteCount {
            var end = start
            while end < path.byteCount, path[end] != UInt8(ascii: "/") { end += 1 }
            places = step(places, path.extracting(start..<end))
            if places & 1 << UInt64(parts.count) != 0 { return .full }
            if places == 0 { return .none }
            start = end + 1
        }
        return .above
    }

    /// With the places behind each `**`, which may stand for nothing.
    private func opened(_ places: UInt64) -> UInt64 {
        var places = places
        for index in parts.indices where parts[index].isAny && places & 1 << UInt64(index) != 0 {
            places |= 1 << UInt64(index + 1)
        }
        return places
    }

    private func step(_ places: UInt64, _ component: RawSpan) -> UInt64 {
        var next: UInt64 = 0
        for index in parts.indices where places & 1 << UInt64(index) != 0 {
            if parts[index].isAny {
                next |= 1 << UInt64(index)
            } else if matches(parts[index], component) {
                next |= 1 << UInt64(index + 1)
            }
        }
        return opened(next)
    }

    private func matches(_ part: Part, _ component: RawSpan) -> Bool {
        if part.isPlain { return bytesEqual(text.rawBytes.extracting(part.range), component) }
        var (place, position) = (part.range.lowerBound, 0)
        // Where the last `*` stands, and what it has taken so far.
        var star: (place: Int, position: Int)?
        while position < component.byteCount || place < part.range.upperBound {
            if place < part.range.upperBound {
                let byte = text[place]
                if byte == UInt8(ascii: "*") {
                    star = (place, position)
                    place += 1
                    continue
                }
                let isEscaped = byte == UInt8(ascii: "\\") && place + 1 < part.range.upperBound
                let wanted = isEscaped ? text[place + 1] : byte
                if position < component.byteCount,
                    !isEscaped && byte == UInt8(ascii: "?") || component[position] == wanted
                {
                    place += isEscaped ? 2 : 1
                    position += 1
                    continue
                }
            }
            guard let back = star, back.position < component.byteCount else { return false }
            star = (back.place, back.position + 1)
            (place, position) = (back.place + 1, back.position + 1)
        }
        return true
    }
}

extension PathPattern: ExpressibleByStringLiteral {
    /// A pattern in a program's text; one that no path can have ends the program.
    public init(stringLiteral text: String) {
        do throws(LayerError) { try self.init(text) } catch { preconditionFailure("\(error)") }
    }
}
