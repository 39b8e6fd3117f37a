import LayerModel

/// The name of an image, as people and registries write it: `[HOST/]PATH[:TAG][@DIGEST]`.
package struct ImageReference: Sendable, Equatable, Hashable, CustomStringConvertible {
    /// With the registry's host, and `library/` where Docker's registry wants it.
    package let repository: String
    package let tag: String?
    package let digest: String?

    /// Reads a name, and adds what is left out: Docker's registry, `library/`, the tag `latest`. Nil for what is none.
    package init?(parsing text: String) {
        var rest = Substring(text)
        var (digest, tag): (String?, String?)
        if let at = rest.firstIndex(of: "@") {
            digest = String(rest[rest.index(after: at)...])
            rest = rest[..<at]
            guard Digest(parsing: digest ?? "") != nil else { return nil }
        }
        let lastSlash = rest.lastIndex(of: "/")
        if let colon = rest.lastIndex(of: ":"), lastSlash.map({ $0 < colon }) ?? true {
            tag = String(rest[rest.index(after: colon)...])
            rest = rest[..<colon]
            guard Self.isTag(tag ?? "") else { return nil }
        }
        var parts = rest.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        let first = parts.first ?? ""
        let hasHost =
            parts.count > 1
            && (first.contains(".") || first.contains(":") || first == "localhost" || first.contains { $0.isUppercase })
        let host = hasHost ? parts.removeFirst() : "docker.io"
        guard !parts.isEmpty, parts.allSatisfy(Self.isComponent), Self.isHost(host) else { return nil }
        let name = host == "index.docker.io" ? "docker.io" : host
        if name == "docker.io", parts.count == 1 { parts.insert("library", at: 0) }
        repository = name + "/" + parts.joined(separator: "/")
        guard repository.utf8.count <= 255 else { return nil }
        self.tag = tag ?? (digest == nil ? "latest" : nil)
        self.digest = digest
    }

    package var description: String {
        repository + (tag.map { ":" + $0 } ?? "") + (digest.map { "@" + $0 } ?? "")
    }

    /// As Docker shows it: without its own registry and `library/`, where what is left means the same.
    package var familiar: String {
        let text = description
        for prefix in ["docker.io/library/", "docker.io/"] where text.hasPrefix(prefix) {
            let short = String(text.dropFirst(prefix.utf8.count))
            // What is left may begin with what looks like a host.
            if ImageReference(parsing: short) == self { return short }
        }
        return text
    }

    /// The repository's part of the familiar name.
    package static func familiarRepository(of name: ImageReference) -> String {
        let familiar = name.familiar
        let suffix = (name.tag.map { ":" + $0 } ?? "") + (name.digest.map { "@" + $0 } ?? "")
        return String(familiar.dropLast(suffix.count))
    }

    static func isTag(_ text: String) -> Bool {
        guard let first = text.utf8.first, isWord(first) || first == UInt8(ascii: "_"), text.utf8.count <= 128 else {
            return false
        }
        return text.utf8.allSatisfy { isWord($0) || "_.-".utf8.contains($0) }
    }

    private static func isWord(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
        default: false
        }
    }

    private static func isHost(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.allSatisfy { isWord($0) || ".-:[]".utf8.contains($0) }
    }

    /// Lower-case letters and digits, joined by `.`, `_`, `__` or any number of `-`.
    private static func isComponent(_ text: String) -> Bool {
        var separators: [UInt8] = []
        var isAtStart = true
        for byte in text.utf8 {
            if (0x30...0x39).contains(byte) || (0x61...0x7a).contains(byte) {
                if !separators.isEmpty, !isSeparator(separators) { return false }
                separators.removeAll()
                isAtStart = false
            } else {
                if isAtStart { return false }
                separators.append(byte)
            }
        }
        return !isAtStart && separators.isEmpty
    }

    private static func isSeparator(_ bytes: [UInt8]) -> Bool {
        bytes == [UInt8(ascii: ".")] || bytes == [UInt8(ascii: "_")] || bytes == [UInt8(ascii: "_"), UInt8(ascii: "_")]
            || bytes.allSatisfy { $0 == UInt8(ascii: "-") }
    }
}
