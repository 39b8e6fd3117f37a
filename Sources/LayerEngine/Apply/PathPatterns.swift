public import LayerModel

/// Which names of a layer are unpacked: patterns of paths, of which `*`, `?` and `[...]` stand for parts of one component, and `**`
/// for any number of components. What lies below a directory that a pattern names is meant, too.
public struct PathPatterns: Sendable, Equatable {
    private let patterns: [[[UInt8]]]

    /// Nil where one of them names nothing: an empty one, or one with `..`.
    public init?(_ texts: [PathBytes]) {
        var patterns: [[[UInt8]]] = []
        for text in texts {
            let parts = text.bytes.split(separator: UInt8(ascii: "/")).map { Array($0) }.filter {
                $0 != Array(".".utf8)
            }
            guard !parts.isEmpty, !parts.contains(Array("..".utf8)) else { return nil }
            patterns.append(parts)
        }
        guard !patterns.isEmpty else { return nil }
        self.patterns = patterns
    }

    /// Whether the name, clean and from the root, is meant.
    func mean(_ path: RawSpan) -> Bool {
        let parts = Self.parts(path)
        return patterns.contains { Self.match($0[...], parts[...]) == .whole }
    }

    /// Whether something below the name may be meant, so that a directory of the name is unpacked as it is.
    func mayLead(_ path: RawSpan) -> Bool {
        let parts = Self.parts(path)
        return patterns.contains { Self.match($0[...], parts[...]) == .leads }
    }

    private enum Outcome { case whole, leads, none }

    private static func parts(_ path: RawSpan) -> [[UInt8]] {
        path.copied().split(separator: UInt8(ascii: "/")).map { Array($0) }
    }

    private static func match(_ pattern: ArraySlice<[UInt8]>, _ path: ArraySlice<[UInt8]>) -> Outcome {
        guard let part = pattern.first else { return .whole }
        let rest = pattern.dropFirst()
        if part == Array("**".utf8) {
            // Of what may lie anywhere no directory is known to lead there.
            for start in path.indices where match(rest, path[start...]) == .whole { return .whole }
            return rest.isEmpty ? .whole : .none
        }
        guard let name = path.first else { return .leads }
        return matches(part[...], name[...]) ? match(rest, path.dropFirst()) : .none
    }

    /// Whether a component fits a pattern of one.
    private static func matches(_ pattern: ArraySlice<UInt8>, _ name: ArraySlice<UInt8>) -> Bool {
        var (pattern, name) = (pattern, name)
        // Where to go on after a `*` that took too little.
        var retry: (pattern: ArraySlice<UInt8>, name: ArraySlice<UInt8>)?
        while true {
            if let first = pattern.first, first == UInt8(ascii: "*") {
                pattern = pattern.dropFirst()
                retry = (pattern, name)
                continue
            }
            if let byte = name.first, let rest = after(pattern, byte) {
                pattern = rest
                name = name.dropFirst()
                continue
            }
            if pattern.isEmpty, name.isEmpty { return true }
            guard let last = retry, !last.name.isEmpty else { return false }
            retry = (last.pattern, last.name.dropFirst())
            (pattern, name) = (last.pattern, last.name.dropFirst())
        }
    }

    /// What is left of a pattern that begins with something for the byte; nil if it does not.
    private static func after(_ pattern: ArraySlice<UInt8>, _ byte: UInt8) -> ArraySlice<UInt8>? {
        guard let first = pattern.first else { return nil }
        switch first {
        case UInt8(ascii: "?"): return pattern.dropFirst()
        case UInt8(ascii: "["):
            guard let end = pattern.dropFirst(2).firstIndex(of: UInt8(ascii: "]")) else { break }
            var set = pattern[(pattern.startIndex + 1)..<end]
            let isOther = set.first == UInt8(ascii: "!") || set.first == UInt8(ascii: "^")
            if isOther { set = set.dropFirst() }
            return contains(set, byte) != isOther ? pattern[(end + 1)...] : nil
        case UInt8(ascii: "\\"):
            guard let literal = pattern.dropFirst().first else { break }
            return literal == byte ? pattern.dropFirst(2) : nil
        default: break
        }
        return first == byte ? pattern.dropFirst() : nil
    }

    private static func contains(_ set: ArraySlice<UInt8>, _ byte: UInt8) -> Bool {
        var set = set
        while let low = set.popFirst() {
            if set.first == UInt8(ascii: "-"), let high = set.dropFirst().first {
                if (low...max(low, high)).contains(byte) { return true }
                set = set.dropFirst(2)
            } else if low == byte {
                return true
            }
        }
        return false
    }
}
