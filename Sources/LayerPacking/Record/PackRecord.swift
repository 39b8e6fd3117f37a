package import LayerModel

/// A file of a packed layer: what tells whether it is still the one that was made.
package struct PackedFile: Sendable, Equatable {
    package var byteCount: UInt64
    /// SHA-256; empty where it was not taken.
    package var digest: [UInt8]
    /// The digest of fs-verity; empty where that is not on.
    package var verity: [UInt8]

    package init(byteCount: UInt64, digest: [UInt8] = [], verity: [UInt8] = []) {
        self.byteCount = byteCount
        self.digest = digest
        self.verity = verity
    }
}

/// What an index depends on besides its tar.
package enum PackBinding: Sendable, Equatable {
    /// Nothing: it is the same over any layers.
    case free
    /// It is a lowest layer's: its deletions were left out.
    case noParents
    /// The layers of these DiffIDs, the lowest first: something of them was taken over.
    case chain([[UInt8]])
}

/// What a layer's tar came from: bytes of which this host has proven that the tar is in them.
package struct PackOrigin: Sendable, Equatable {
    /// Their SHA-256.
    package var digest: [UInt8]
    /// Whether they were taken as they are, whatever they look like; else their beginning says how they are compressed.
    package var isPlain: Bool

    package init(digest: [UInt8], isPlain: Bool) {
        self.digest = digest
        self.isPlain = isPlain
    }
}

/// What lies beside a packed layer's files and binds them to each other.
package struct PackRecord: Sendable, Equatable {
    /// The layer's stream; its digest is the DiffID.
    package var tar: PackedFile
    package var index: PackedFile
    /// Contents that are no single run of the tar.
    package var extra: PackedFile?
    /// Names in the tree, whiteouts included.
    package var entries: UInt64
    /// Sum of the sizes in all headers.
    package var headerSum: UInt64
    /// Bytes of the non-directories, each inode once.
    package var uniqueFileBytes: UInt64
    /// Directories that the archive names only as part of a path, as the numbers of their inodes in the index.
    package var impliedDirectories: [UInt64]
    package var binding: PackBinding
    /// Whether the layer hides all layers below it: the chain ends here.
    package var isRootOpaque: Bool
    /// Whether the index is for overlays mounted with `userxattr`.
    package var userAttributes: Bool
    /// Whether the tar was made here of a directory, with all that this host's files have, and is no layer that came from elsewhere.
    package var isMadeHere = false
    /// What the tar came from, where that is known.
    package var source: PackOrigin?

    /// The record of what was packed.
    package init(
        _ report: PackReport, tar: PackedFile, index: PackedFile, extra: PackedFile? = nil,
        binding: PackBinding = .free,
        userAttributes: Bool = false
    ) {
        self.tar = tar
        self.index = index
        self.extra = extra
        entries = report.presentEntries
        headerSum = report.headerSum
        uniqueFileBytes = report.uniqueFileBytes
        impliedDirectories = report.impliedDirectories
        self.binding = binding
        isRootOpaque = report.isRootOpaque
        self.userAttributes = userAttributes
    }

    /// Whether another layer's parents may lie below the index: nothing of it depends on those it was made over.
    package var isFree: Bool { binding == .free && impliedDirectories.isEmpty }

    /// The bytes whose SHA-256 begins with the index's UUID: overlayfs tells file systems apart by it.
    package static func identity(diffID: [UInt8], userAttributes: Bool) -> [UInt8] {
        Array("ldiff-packed-1".utf8) + diffID + Array(userAttributes ? "user".utf8 : "trusted".utf8)
    }

    /// The UUID that follows from a digest of `identity`.
    package static func uuid(_ digest: [UInt8]) -> [UInt8] {
        precondition(digest.count >= 16, "a digest is longer than a UUID")
        var uuid = Array(digest[..<16])
        // Version 8: its maker's own.
        uuid[6] = uuid[6] & 0x0f | 0x80
        uuid[8] = uuid[8] & 0x3f | 0x80
        return uuid
    }
}

// MARK: text

extension PackRecord {
    private static let head = "ldiff-packed 1"

    /// The record as lines of text; the last one says that it is whole.
    package var text: [UInt8] {
        var lines = [Self.head, Self.line("tar", tar), Self.line("index", index)]
        if let extra { lines.append(Self.line("extra", extra)) }
        lines.append("entries \(entries)")
        lines.append("header-sum \(headerSum)")
        lines.append("unique \(uniqueFileBytes)")
        if !impliedDirectories.isEmpty {
            lines.append("implied " + impliedDirectories.map { String($0) }.joined(separator: " "))
        }
        switch binding {
        case .free: break
        case .noParents: lines.append("bound")
        case .chain(let layers): lines.append("bound " + layers.map(Self.hexadecimal).joined(separator: " "))
        }
        if isRootOpaque { lines.append("root-opaque") }
        if userAttributes { lines.append("userxattr") }
        if isMadeHere { lines.append("made-here") }
        if let source { lines.append("source \(Self.hexadecimal(source.digest))" + (source.isPlain ? " plain" : "")) }
        lines.append("end")
        return Array(lines.joined(separator: "\n").utf8) + [UInt8(ascii: "\n")]
    }

    private static func line(_ name: String, _ file: PackedFile) -> String {
        let digests = [file.digest, file.verity].map { $0.isEmpty ? "-" : hexadecimal($0) }
        return "\(name) \(file.byteCount) \(digests.joined(separator: " "))"
    }

    private static func hexadecimal(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    private static func bytes(_ text: Substring) -> [UInt8]? {
        let digits = Array(text.utf8)
        guard digits.count % 2 == 0, !digits.isEmpty else { return nil }
        var bytes: [UInt8] = []
        for at in stride(from: 0, to: digits.count, by: 2) {
            guard let high = nibble(digits[at]), let low = nibble(digits[at + 1]) else { return nil }
            bytes.append(high << 4 | low)
        }
        return bytes
    }

    private static func nibble(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        default: nil
        }
    }

    /// Reads a record. Throws `corruptLayer` for one that is cut off, edited into nonsense or of another format.
    package init(text: [UInt8], path: PathBytes? = nil) throws(LayerError) {
        guard let record = Self(parsing: text) else {
            throw LayerError(
                .corruptLayer, "read the record of a packed layer", path: path,
                cause: .reason("it is no record of this format, or not whole"),
                hint: "pack the layer again from its tar")
        }
        self = record
    }

    private init?(parsing text: [UInt8]) {
        guard let string = String(validating: text, as: UTF8.self), string.hasSuffix("\nend\n") else { return nil }
        var lines = string.dropLast(5).split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.first.map({ $0 == Self.head }) == true else { return nil }
        lines.removeFirst()
        var files: [Substring: PackedFile] = [:]
        var numbers: [Substring: UInt64] = [:]
        impliedDirectories = []
        binding = .free
        isRootOpaque = false
        userAttributes = false
        for line in lines {
            let words = line.split(separator: " ", omittingEmptySubsequences: false)
            switch (words[0], words.count) {
            case ("tar", 4), ("index", 4), ("extra", 4):
                guard files[words[0]] == nil, let file = Self.file(words) else { return nil }
                files[words[0]] = file
            case ("entries", 2), ("header-sum", 2), ("unique", 2):
                guard numbers[words[0]] == nil, let number = UInt64(words[1]) else { return nil }
                numbers[words[0]] = number
            case ("implied", 2...):
                guard impliedDirectories.isEmpty else { return nil }
                for word in words[1...] {
                    guard let number = UInt64(word) else { return nil }
                    impliedDirectories.append(number)
                }
            case ("bound", 1): binding = .noParents
            case ("bound", 2...):
                var layers: [[UInt8]] = []
                for word in words[1...] {
                    guard let layer = Self.bytes(word) else { return nil }
                    layers.append(layer)
                }
                binding = .chain(layers)
            case ("root-opaque", 1): isRootOpaque = true
            case ("userxattr", 1): userAttributes = true
            case ("made-here", 1): isMadeHere = true
            case ("source", 2...3):
                guard source == nil, let digest = Self.bytes(words[1]), words.count == 2 || words[2] == "plain" else {
                    return nil
                }
                source = PackOrigin(digest: digest, isPlain: words.count == 3)
            default: return nil
            }
        }
        guard let tar = files["tar"], let index = files["index"], let entries = numbers["entries"],
            let headerSum = numbers["header-sum"], let unique = numbers["unique"]
        else { return nil }
        (self.tar, self.index, extra) = (tar, index, files["extra"])
        (self.entries, self.headerSum, uniqueFileBytes) = (entries, headerSum, unique)
    }

    private static func file(_ words: [Substring]) -> PackedFile? {
        guard let byteCount = UInt64(words[1]) else { return nil }
        var file = PackedFile(byteCount: byteCount)
        if words[2] != "-" {
            guard let digest = bytes(words[2]) else { return nil }
            file.digest = digest
        }
        if words[3] != "-" {
            guard let verity = bytes(words[3]) else { return nil }
            file.verity = verity
        }
        return file
    }
}
