import LayerModel

/// What a filter means, in plain code: patterns as lists of components, and a callback that knows the path alone.
package struct FilterModel {
    package var include: [[[UInt8]]] = []
    package var exclude: [[[UInt8]]] = []
    /// What the callback leaves out: one path in so many, 0 for none.
    package var vetoes: UInt64 = 0

    private static let parts = [
        "a", "b", "c", "d", "l", "m", "file", "*", "**", "?", "a*", "*e*", "?*", "l?n*", "\\*", "[a]", "*-*b", "**",
    ]

    /// A filter at random; `vetoing` says that it may have a callback.
    package init(_ random: inout SeededNumbers, vetoing: Bool = true) {
        func patterns(_ count: Int) -> [[[UInt8]]] {
            (0..<count).map { _ in
                (0...random.below(3)).map { _ in Array(random.pick(Self.parts).utf8) }
            }
        }
        if !random.isTrue(oneIn: 3) { include = patterns(1 + random.below(3)) }
        if !random.isTrue(oneIn: 3) { exclude = patterns(1 + random.below(2)) }
        if vetoing, random.isTrue(oneIn: 2) { vetoes = UInt64(2 + random.below(5)) }
    }

    /// The same for the library.
    package func filter() throws -> LayerFilter {
        func pattern(_ parts: [[UInt8]]) throws -> PathPattern {
            try PathPattern(Array(parts.joined(separator: [UInt8(ascii: "/")])))
        }
        var filter = LayerFilter(include: try include.map(pattern), exclude: try exclude.map(pattern))
        let model = self
        if vetoes > 0 { filter.admits = { !model.isVetoed($0.path.bytes) } }
        return filter
    }

    package func isVetoed(_ path: [UInt8]) -> Bool {
        guard vetoes > 0 else { return false }
        return path.reduce(14_695_981_039_346_656_037 as UInt64) { ($0 ^ UInt64($1)) &* 1_099_511_628_211 } >> 20
            % vetoes
            == 0
    }

    /// Whether the patterns let a path pass.
    package func passes(_ path: [UInt8], mayLead: Bool) -> Bool {
        let parts = path.split(separator: UInt8(ascii: "/")).map(Array.init)
        let isIncluded =
            include.isEmpty
            || include.contains { pattern in
                Self.matchesSomeOf(parts, pattern) || mayLead && Self.canLead(parts[...], pattern[...])
            }
        return isIncluded && !exclude.contains { Self.matchesSomeOf(parts, $0) }
    }

    /// Whether a path stays where each directory above it was asked about too.
    package func keeps(_ path: [UInt8], mayLead: Bool) -> Bool {
        guard passes(path, mayLead: mayLead), !isVetoed(path) else { return false }
        for end in path.indices where path[end] == UInt8(ascii: "/") && isVetoed(Array(path[..<end])) { return false }
        return true
    }

    /// Whether a pattern matches the path or a directory above it.
    package static func matchesSomeOf(_ path: [[UInt8]], _ pattern: [[UInt8]]) -> Bool {
        !path.isEmpty && (1...path.count).contains { matches(path[..<$0], pattern[...]) }
    }

    private static func isAny(_ part: [UInt8]) -> Bool { part == Array("**".utf8) }

    private static func matches(_ path: ArraySlice<[UInt8]>, _ pattern: ArraySlice<[UInt8]>) -> Bool {
        guard let first = pattern.first else { return path.isEmpty }
        let rest = pattern.dropFirst()
        if isAny(first) {
            // At the end it is one name at least; elsewhere any number, none included.
            if rest.allSatisfy(isAny) { return !path.isEmpty }
            return matches(path, rest) || !path.isEmpty && matches(path.dropFirst(), pattern)
        }
        guard let name = path.first else { return false }
        return matches(text: name[...], first[...]) && matches(path.dropFirst(), rest)
    }

    /// Whether something below the path may match.
    package static func canLead(_ path: ArraySlice<[UInt8]>, _ pattern: ArraySlice<[UInt8]>) -> Bool {
        guard let first = pattern.first else { return false }
        guard let name = path.first else { return true }
        let rest = pattern.dropFirst()
        if isAny(first) { return canLead(path, rest) || canLead(path.dropFirst(), pattern) }
        return matches(text: name[...], first[...]) && canLead(path.dropFirst(), rest)
    }

    private static func matches(text: ArraySlice<UInt8>, _ pattern: ArraySlice<UInt8>) -> Bool {
        guard let first = pattern.first else { return text.isEmpty }
        let rest = pattern.dropFirst()
        switch first {
        case UInt8(ascii: "*"):
            return matches(text: text, rest) || !text.isEmpty && matches(text: text.dropFirst(), pattern)
        case UInt8(ascii: "?"): return !text.isEmpty && matches(text: text.dropFirst(), rest)
        case UInt8(ascii: "\\") where !rest.isEmpty:
            return text.first == rest.first && matches(text: text.dropFirst(), rest.dropFirst())
        default: return text.first == first && matches(text: text.dropFirst(), rest)
        }
    }
}
