import LayerModel
import LinuxIO

/// What a set of mounts shows, as far as that can be read from its text: then nothing has to be mounted.
enum MountShape: Sendable, Equatable {
    /// No mounts: an empty tree.
    case nothing
    /// One directory as it is.
    case directory(PathBytes, isReadOnly: Bool)
    /// Directories that merge.
    case overlay(OverlayShape)
    /// Only who mounts it knows.
    case unknown

    /// Reads the mounts of one side. Throws `invalidArgument` for a path that is not absolute and plain.
    init(_ mounts: [MountSpec]) throws(LayerError) {
        guard let mount = mounts.first else {
            self = .nothing
            return
        }
        let options = mount.options.map { Array($0.utf8) }
        guard mounts.count == 1, mount.target.isEmpty else {
            self = .unknown
            return
        }
        switch mount.type {
        case "bind":
            self = .directory(try Self.path(Array(mount.source.utf8)), isReadOnly: Self.isReadOnly(options))
        case "overlay":
            self = try Self.overlay(.kernel, options)
        case "fuse3.fuse-overlayfs", "fuse.fuse-overlayfs":
            // Whoever mounts has the privileges of this process: one containerd is the client of both.
            self = try Self.overlay(.fuse, options, usesUserAttributes: ProcessState.lacksTrustedAttributes)
        case "aufs":
            self = try Self.branches(options)
        default:
            self = .unknown
        }
    }

    /// The directories that merge, nearest first; nil where that is not known.
    var stack: [PathBytes]? {
        switch self {
        case .nothing: []
        case .directory(let path, _): [path]
        case .overlay(let overlay): (overlay.upper.map { [$0] } ?? []) + overlay.lowers
        case .unknown: nil
        }
    }

    private static func overlay(
        _ kind: OverlayShape.Kind, _ options: [[UInt8]], usesUserAttributes: Bool = false
    ) throws(LayerError) -> MountShape {
        var shape = OverlayShape(kind: kind)
        shape.usesUserAttributes = usesUserAttributes
        shape.isReadOnly = isReadOnly(options)
        for option in options {
            if let value = option.value(of: "upperdir=") {
                shape.upper = try path(unescaped(value))
            } else if let value = option.value(of: "lowerdir=") {
                guard let paths = splitLowers(value) else { return .unknown }
                shape.lowers = try paths.map { (bytes) throws(LayerError) in try path(bytes) }
            } else if option == Array("userxattr".utf8) {
                shape.usesUserAttributes = true
            } else if let value = option.value(of: "uidmapping=") {
                shape.uidMap = try map(value)
            } else if let value = option.value(of: "gidmapping=") {
                shape.gidMap = try map(value)
            } else if option.starts(with: Array("lowerdir+=".utf8)) || option.starts(with: Array("datadir+=".utf8)) {
                return .unknown
            }
        }
        return shape.lowers.isEmpty ? .unknown : .overlay(shape)
    }

    /// `br:/upper=rw:/lower=ro+wh:...`: the branches of aufs, the writable one first if there is one.
    private static func branches(_ options: [[UInt8]]) throws(LayerError) -> MountShape {
        guard let list = options.lazy.compactMap({ $0.value(of: "br:") }).first, let words = splitLowers(list) else {
            return .unknown
        }
        var shape = OverlayShape(kind: .aufs)
        shape.isReadOnly = isReadOnly(options)
        for (index, word) in words.enumerated() {
            guard let equals = word.lastIndex(of: UInt8(ascii: "=")) else { return .unknown }
            let branch = try path(Array(word[..<equals]))
            if word[(equals + 1)...].starts(with: Array("rw".utf8)) {
                guard index == 0 else { return .unknown }
                shape.upper = branch
            } else {
                shape.lowers.append(branch)
            }
        }
        return shape.lowers.isEmpty ? .unknown : .overlay(shape)
    }

    /// The last of `ro` and `rw` counts.
    private static func isReadOnly(_ options: [[UInt8]]) -> Bool {
        options.last { $0 == Array("ro".utf8) || $0 == Array("rw".utf8) } == Array("ro".utf8)
    }

    /// What the kernel splits at colons that no backslash precedes; nil for what is more than a list (`::` before
    /// directories that only hold data).
    private static func splitLowers(_ value: [UInt8]) -> [[UInt8]]? {
        var paths: [[UInt8]] = [[]]
        var isEscaped = false
        for byte in value {
            if isEscaped {
                paths[paths.count - 1].append(byte)
                isEscaped = false
            } else if byte == UInt8(ascii: "\\") {
                isEscaped = true
            } else if byte == UInt8(ascii: ":") {
                paths.append([])
            } else {
                paths[paths.count - 1].append(byte)
            }
        }
        return paths.contains(where: \.isEmpty) ? nil : paths
    }

    private static func unescaped(_ value: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        var isEscaped = false
        for byte in value {
            isEscaped = !isEscaped && byte == UInt8(ascii: "\\")
            if !isEscaped { bytes.append(byte) }
        }
        return bytes
    }

    /// `0:100000:65536`, several behind each other: what lies on disk, what it is shown as, how many.
    private static func map(_ value: [UInt8]) throws(LayerError) -> IDMap {
        let numbers = value.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        var ranges: [IDMap.Range] = []
        for start in stride(from: 0, to: numbers.count, by: 3) {
            let words = numbers[start..<min(start + 3, numbers.count)].map { String(decoding: $0, as: UTF8.self) }
            guard let range = IDMap.parseRange(words.joined(separator: ":")) else {
                throw LayerError(
                    .invalidArgument, "read the mounts",
                    cause: .reason("\"\(escapedText(value))\" is not a map of ids"))
            }
            ranges.append(range)
        }
        return IDMap(ranges)
    }

    /// A path that the client meant as it stands: absolute, without `..`.
    static func path(_ bytes: [UInt8]) throws(LayerError) -> PathBytes {
        let components = bytes.split(separator: UInt8(ascii: "/"))
        guard bytes.first == UInt8(ascii: "/"), !bytes.contains(0), !components.contains(Array("..".utf8)[...]) else {
            throw LayerError(
                .invalidArgument, "read the mounts", path: PathBytes(bytes),
                cause: .reason("it is not an absolute path without \"..\""))
        }
        return PathBytes(bytes)
    }
}

/// The directories of an overlay mount.
struct OverlayShape: Sendable, Equatable {
    /// Who merges them.
    enum Kind: Sendable { case kernel, fuse, aufs }

    var kind: Kind
    var upper: PathBytes?
    /// Nearest first.
    var lowers: [PathBytes] = []
    var usesUserAttributes = false
    var isReadOnly = false
    /// fuse-overlayfs: ids on disk and what they are shown as.
    var uidMap = IDMap.identity
    var gidMap = IDMap.identity

    init(kind: Kind) { self.kind = kind }

    /// How deletions lie in the upper directory.
    var dialect: WhiteoutDialect {
        switch kind {
        case .kernel: usesUserAttributes ? .overlayUserXattr : .overlay
        case .fuse: usesUserAttributes ? .fuseOverlayFSUserXattr : .fuseOverlayFS
        case .aufs: .aufs
        }
    }
}

extension [UInt8] {
    /// What follows `key` where these bytes begin with it.
    func value(of key: String) -> [UInt8]? {
        let key = Array(key.utf8)
        return starts(with: key) ? Array(self[key.count...]) : nil
    }
}
