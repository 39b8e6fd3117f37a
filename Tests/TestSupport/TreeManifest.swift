import Glibc

/// A tree described as text, one line an entry; Fixtures/README.md says how a manifest reads.
package struct TreeManifest {
    private let lines: [[Substring]]

    package init(text: String) {
        lines = text.split(separator: "\n").filter { !$0.hasPrefix("#") }.map { $0.split(separator: " ") }
    }

    /// Reads `Fixtures/trees/NAME.manifest`.
    package init(named name: String) throws {
        self.init(text: String(decoding: try readFile(packagePath("Fixtures/trees/\(name).manifest")), as: UTF8.self))
    }

    /// Builds the tree at `root`, which must not exist. Devices and owners need root.
    package func build(at root: String) throws {
        let builder = try TreeBuilder(root)
        var times: [(name: String, seconds: Int64, nanoseconds: Int)] = []
        for words in lines {
            guard words.count >= 5 else { throw TestFailure("not a line of a manifest: \(words)") }
            let name = String(words[1])
            if words[0] == "h" {
                try builder.link(name, to: field("target", of: words))
                continue
            }
            try make(words, name, builder)
            guard let mode = mode_t(words[2], radix: 8) else { throw TestFailure("mode of \(name)") }
            let ids = words[3].split(separator: ":").compactMap { uid_t($0) }
            guard ids.count == 2 else { throw TestFailure("owner of \(name)") }
            try builder.owner(name, ids[0], ids[1])
            if words[0] != "l" { try builder.mode(name, mode) }
            for word in words.dropFirst(5) where word.hasPrefix("xattr:") {
                let parts = word.dropFirst(6).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                try builder.attribute(name, String(parts[0]), try Self.hex(parts[1]))
            }
            let time = try Self.time(words[4])
            times.append((name, time.seconds, time.nanoseconds))
        }
        for time in times.reversed() { try builder.times(time.name, time.seconds, time.nanoseconds) }
    }

    private func make(_ words: [Substring], _ name: String, _ builder: TreeBuilder) throws {
        switch words[0] {
        case "d": try builder.directory(name)
        case "f":
            if let text = optional("content", of: words) {
                try builder.write(name, unescaped(text))
            } else {
                let size = Int(optional("size", of: words) ?? "0") ?? 0
                try builder.write(name, (0..<size).map { UInt8($0 % 251) })
            }
        case "l": try builder.link(symbolic: name, to: field("target", of: words))
        case "c", "b":
            let numbers = try field("dev", of: words).split(separator: ":").compactMap { UInt32($0) }
            guard numbers.count == 2 else { throw TestFailure("device of \(name)") }
            if words[0] == "c" {
                try builder.character(name, numbers[0], numbers[1])
            } else {
                try builder.block(name, numbers[0], numbers[1])
            }
        case "p": try builder.fifo(name)
        case "s": try builder.socket(name)
        default: throw TestFailure("unknown type \(words[0])")
        }
    }

    private func optional(_ key: String, of words: [Substring]) -> String? {
        words.dropFirst(5).first { $0.hasPrefix(key + ":") }.map { String($0.dropFirst(key.utf8.count + 1)) }
    }

    private func field(_ key: String, of words: [Substring]) throws -> String {
        guard let value = optional(key, of: words) else { throw TestFailure("no \(key) in \(words)") }
        return value
    }

    private static func hex(_ text: Substring) throws -> [UInt8] {
        let digits = Array(text)
        return try stride(from: 0, to: digits.count - 1, by: 2).map { index in
            guard let byte = UInt8(String(digits[index...index + 1]), radix: 16) else {
                throw TestFailure("hex \(text)")
            }
            return byte
        }
    }

    /// `SECONDS[.FRACTION]`, possibly negative: -1.5 is one and a half second before 1970.
    private static func time(_ text: Substring) throws -> (seconds: Int64, nanoseconds: Int) {
        let negative = text.hasPrefix("-")
        let parts = text.drop { $0 == "-" }.split(separator: ".")
        let fraction = parts.count > 1 ? String(parts[1]) : ""
        guard let seconds = Int64(parts[0]),
            let nanoseconds = Int(fraction + String(repeating: "0", count: 9 - fraction.count))
        else { throw TestFailure("time \(text)") }
        if !negative { return (seconds, nanoseconds) }
        return nanoseconds == 0 ? (-seconds, 0) : (-seconds - 1, 1_000_000_000 - nanoseconds)
    }
}

/// A path inside the package, wherever it was cloned to.
package func packagePath(_ relative: String) -> String {
    let parts = #filePath.split(separator: "/").dropLast(3)
    return "/" + parts.joined(separator: "/") + "/" + relative
}

/// All bytes of a file.
package func readFile(_ path: String) throws -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw TestFailure.call("open", path) }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 18)
    while true {
        let count = read(descriptor, &buffer, buffer.count)
        guard count >= 0 else { throw TestFailure.call("read", path) }
        if count == 0 { return bytes }
        bytes.append(contentsOf: buffer[0..<count])
    }
}
