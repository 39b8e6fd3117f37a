import PlainJSON

/// What an image runs on, in the words of image indexes.
package struct Platform: Sendable, Equatable, Hashable, CustomStringConvertible {
    package var os: String
    package var architecture: String
    /// Empty where the architecture has none, or the usual one.
    package var variant: String
    package var osVersion: String
    package var osFeatures: [String]

    package init(
        os: String, architecture: String, variant: String = "", osVersion: String = "", osFeatures: [String] = []
    ) {
        self.os = os
        self.architecture = architecture
        self.variant = variant
        self.osVersion = osVersion
        self.osFeatures = osFeatures
    }

    /// What this program runs on.
    package static var current: Platform {
        #if arch(x86_64)
            Platform(os: "linux", architecture: "amd64")
        #elseif arch(arm64)
            Platform(os: "linux", architecture: "arm64")
        #else
            Platform(os: "linux", architecture: "unknown")
        #endif
    }

    /// `OS/ARCHITECTURE[/VARIANT]`; nil for anything else.
    package init?(parsing text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard (2...3).contains(parts.count), parts.allSatisfy({ !$0.isEmpty }) else { return nil }
        self = Platform(os: parts[0], architecture: parts[1], variant: parts.count > 2 ? parts[2] : "").normalised
    }

    package var description: String {
        variant.isEmpty ? "\(os)/\(architecture)" : "\(os)/\(architecture)/\(variant)"
    }

    /// The same with the names that indexes use: of one thing there are several.
    package var normalised: Platform {
        var result = self
        result.os = os.lowercased() == "macos" ? "darwin" : os.lowercased()
        (result.architecture, result.variant) = Self.normalised(architecture.lowercased(), variant.lowercased())
        return result
    }

    private static func normalised(_ architecture: String, _ variant: String) -> (String, String) {
        switch architecture {
        case "i386": ("386", "")
        case "amd64", "x86_64", "x86-64": ("amd64", variant == "v1" ? "" : variant)
        case "arm64", "aarch64":
            switch variant {
            case "8", "v8", "v8.0": ("arm64", "")
            case "9", "9.0", "v9.0": ("arm64", "v9")
            default: ("arm64", variant)
            }
        case "armhf": ("arm", "v7")
        case "armel": ("arm", "v6")
        case "arm":
            switch variant {
            case "", "7": ("arm", "v7")
            case "5", "6", "8": ("arm", "v" + variant)
            default: ("arm", variant)
            }
        default: (architecture, variant)
        }
    }

    /// Whether nothing runs on it: what belongs to an image without being one.
    var isUnknown: Bool { os == "unknown" || architecture == "unknown" }

    /// The platforms whose programs run on this one, the best first. Only system, architecture and variant count.
    package var runnable: [Platform] {
        let own = normalised
        var list = [own]
        func add(_ architecture: String, _ variants: [String]) {
            for variant in variants {
                list.append(Platform(os: own.os, architecture: architecture, variant: variant))
            }
        }
        switch own.architecture {
        case "amd64":
            let level = Self.level(own.variant) ?? 1
            add("amd64", (level > 2 ? (2..<level).reversed().map { "v\($0)" } : []) + (level > 1 ? [""] : []))
            add("386", [""])
        case "arm":
            let level = Self.level(own.variant) ?? 7
            add("arm", (level > 5 ? (5..<level).reversed().map { "v\($0)" } : []))
        case "arm64":
            add("arm64", Self.armVariants(own.variant))
            add("arm", ["v8", "v7", "v6", "v5"])
        default: break
        }
        return list
    }

    /// The digit after a variant's letter. No architecture has more than nine levels, and the list is as long as the level.
    private static func level(_ variant: String) -> Int? {
        guard let digit = variant.utf8.dropFirst().first, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else {
            return nil
        }
        return Int(digit - UInt8(ascii: "0"))
    }

    /// Older versions of 64-bit ARM that a processor of this one understands.
    private static func armVariants(_ variant: String) -> [String] {
        let text = variant.isEmpty ? "v8" : variant
        let numbers = text.dropFirst().split(separator: ".").compactMap { Int($0) }
        guard let major = numbers.first else { return [] }
        let minor = min(numbers.count > 1 ? numbers[1] : 0, 9)
        func versions(_ major: Int, _ minor: Int) -> [String] {
            guard minor >= 0 else { return [] }
            return (0...minor).reversed().map { $0 > 0 ? "v\(major).\($0)" : major == 8 ? "" : "v\(major)" }
        }
        switch major {
        case 8: return versions(8, minor - 1)
        case 9: return versions(9, minor - 1) + versions(8, min(minor + 5, 9))
        default: return []
        }
    }

    /// How well an entry for `other` serves here: 0 best, nil not at all.
    package func rank(of other: Platform) -> Int? {
        let other = other.normalised
        return runnable.firstIndex {
            $0.os == other.os && $0.architecture == other.architecture && $0.variant == other.variant
        }
    }
}

extension Platform {
    /// Takes the member that comes next, if it tells of a platform; a descriptor and a configuration name them alike.
    mutating func take(_ reader: inout JSONReader) throws(JSONError) -> Bool {
        if reader.isMember("os") {
            os = try reader.string().string
        } else if reader.isMember("architecture") {
            architecture = try reader.string().string
        } else if reader.isMember("variant") {
            variant = try reader.string().string
        } else if reader.isMember("os.version") {
            osVersion = try reader.string().string
        } else if reader.isMember("os.features") {
            osFeatures = try reader.strings()
        } else {
            return false
        }
        return true
    }
}
