/// A release of containerd, as far as it decides what may stand in its configuration.
struct ContainerdVersion: Comparable, CustomStringConvertible {
    var major: Int
    var minor: Int
    /// Nil stands for the newest of its line.
    var patch: Int?

    init(_ major: Int, _ minor: Int, _ patch: Int? = nil) {
        self.major = major
        self.minor = minor
        self.patch = patch
    }

    /// `1.6`, `1.7.24`, `2`, `2.x`, also as `containerd --version` writes it: `v2.1.9`, `1.6.20~ds1`.
    init?(_ text: String) {
        let text = text.hasPrefix("v") ? text.dropFirst() : text[...]
        let words = text.split(separator: ".", omittingEmptySubsequences: false)
        guard !words.isEmpty, let major = Int(words[0]), (1...2).contains(major) else { return nil }
        self.major = major
        // The newest line there is, where none is named.
        minor = major == 1 ? 7 : 99
        guard words.count > 1 else { return }
        if words[1] == "x" { return }
        guard let minor = Self.number(words[1]) else { return nil }
        self.minor = minor
        guard words.count > 2, words[2] != "x" else { return }
        guard let patch = Self.number(words[2]) else { return nil }
        self.patch = patch
    }

    private static func number(_ word: Substring) -> Int? {
        Int(word.prefix { $0.isASCII && $0.isNumber })
    }

    static func < (one: ContainerdVersion, other: ContainerdVersion) -> Bool {
        (one.major, one.minor, one.patch ?? .max) < (other.major, other.minor, other.patch ?? .max)
    }

    var description: String {
        guard minor < 99 else { return "\(major)" }
        return "\(major).\(minor)" + (patch.map { ".\($0)" } ?? "")
    }

    /// Older ones end with a panic at their start when the configuration names a differ.
    var takesDiffers: Bool { self >= ContainerdVersion(1, 7, 4) }
    /// Pulls and imports through the transfer service, which has a list of its own.
    var hasTransferService: Bool { major >= 2 }
    /// The newest version of a configuration file that it reads; it reads 2 as well. 3 has other names for CRI's plugins.
    var newestFormat: Int { major >= 2 ? 3 : 2 }
    /// An imported file replaces all that the node's own says of a plugin.
    var importsReplace: Bool { major < 2 }
    /// Lets a snapshotter find a layer's parent at Commit.
    var rebases: Bool { self >= ContainerdVersion(2, 2) }
    /// Hands the keys below `exports` on.
    var takesExports: Bool {
        major >= 2 || (minor == 7 && self >= ContainerdVersion(1, 7, 16))
            || (minor == 6 && self >= ContainerdVersion(1, 6, 32))
    }
    /// Mounts lower directories with mapped ids. 1.7.23 asks plugins for the capability, but has no such mounts.
    var mapsIDs: Bool { major >= 2 }
}
