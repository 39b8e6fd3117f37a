import Foundation

/// The elements of a document without a library: checks that they nest, and keeps names, attributes and text.
struct XMLDocumentReader {
    struct Malformed: Error, CustomStringConvertible {
        var description: String
    }

    private(set) var elements: [(name: String, attributes: [String: String])] = []
    private(set) var text = ""

    func count(_ name: String) -> Int { elements.count { $0.name == name } }
    func attributes(of name: String, _ attribute: String) -> [String] {
        elements.filter { $0.name == name }.compactMap { $0.attributes[attribute] }
    }
    var ids: Set<String> { Set(elements.compactMap { $0.attributes["id"] }) }
    var links: [String] { attributes(of: "a", "href") }

    init(_ source: String) throws {
        var open: [String] = []
        var rest = source[...]
        while let start = rest.firstIndex(of: "<") {
            try add(text: rest[..<start])
            guard let end = rest[start...].firstIndex(of: ">") else { throw Malformed(description: "an open tag") }
            let tag = rest[rest.index(after: start)..<end]
            rest = rest[rest.index(after: end)...]
            if tag.hasPrefix("/") {
                guard open.popLast() == String(tag.dropFirst()) else {
                    throw Malformed(description: "</\(tag.dropFirst())> closes nothing")
                }
                continue
            }
            let isEmpty = tag.hasSuffix("/")
            let body = isEmpty ? tag.dropLast() : tag
            let name = String(body.prefix { !$0.isWhitespace })
            elements.append((name, try Self.attributes(body.dropFirst(name.count))))
            if !isEmpty { open.append(name) }
        }
        try add(text: rest)
        guard open.isEmpty else { throw Malformed(description: "\(open) stay open") }
    }

    private static func attributes(_ source: Substring) throws -> [String: String] {
        var found: [String: String] = [:]
        var rest = source
        for match in source.matches(of: /\s+([a-zA-Z-]+)="([^"<]*)"/) {
            found[String(match.output.1)] = String(match.output.2)
            rest = source[match.range.upperBound...]
        }
        let left = found.isEmpty ? source : rest
        guard left.allSatisfy(\.isWhitespace) else { throw Malformed(description: "attributes: \(source)") }
        return found
    }

    private mutating func add(text raw: Substring) throws {
        // Every & must begin one of the entities that the report writes.
        for match in raw.matches(of: /&([a-z]*);?/) where !["amp", "lt", "gt", "quot"].contains(match.output.1) {
            throw Malformed(description: "entity \(match.output.0)")
        }
        text += raw.replacingOccurrences(of: "&lt;", with: "<").replacingOccurrences(of: "&gt;", with: ">")
            .replacingOccurrences(of: "&quot;", with: "\"").replacingOccurrences(of: "&amp;", with: "&")
    }
}
