/// Options of an overlay mount (the kernel's Documentation/filesystems/overlayfs.rst) that ldiff sets.
public struct OverlayMountOptions: Sendable, Equatable {
    /// `index=off`: with an index, an upper directory that another namespace still shows would be "busy".
    public var indexOff = false
    /// `userxattr`: marks lie in `user.overlay.`, for mounts in a user namespace. Never together with `redirectFollow`.
    public var userXattr = false
    /// `redirect_dir=follow`: directories already moved stay readable, no new ones are.
    public var redirectFollow = false
    /// `volatile`: the kernel never syncs the upper file system.
    public var volatile = false
    public var readOnly = false
    /// What the user asked for besides, `key=value` or a flag each.
    public var extra: [String] = []

    public init(
        indexOff: Bool = false, userXattr: Bool = false, redirectFollow: Bool = false, volatile: Bool = false,
        readOnly: Bool = false, extra: [String] = []
    ) {
        self.indexOff = indexOff
        self.userXattr = userXattr
        self.redirectFollow = redirectFollow
        self.volatile = volatile
        self.readOnly = readOnly
        self.extra = extra
    }

    /// The options as mount data spells them, without `ro`.
    var words: [String] {
        var words: [String] = []
        if indexOff { words.append("index=off") }
        if userXattr { words.append("userxattr") }
        if redirectFollow { words.append("redirect_dir=follow") }
        if volatile { words.append("volatile") }
        return words + extra
    }
}

/// The text of SELinux's mount option.
public enum MountLabel {
    /// `data` with `context="label"` behind it; unchanged for an empty label.
    public static func append(_ label: String, to data: [UInt8]) -> [UInt8] {
        guard !label.isEmpty else { return data }
        let option = Array("context=\(quoted(label))".utf8)
        return data.isEmpty ? option : data + [UInt8(ascii: ",")] + option
    }

    /// The label in double quotes, with a backslash before quotes and backslashes and `\xNN` for what does not print.
    public static func quoted(_ label: String) -> String {
        var text = "\""
        for scalar in label.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\t": text += "\\t"
            case "\r": text += "\\r"
            case let scalar where scalar.value < 0x20 || scalar.value == 0x7f:
                let digits = String(scalar.value, radix: 16)
                text += "\\x" + (digits.count == 1 ? "0" : "") + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text + "\""
    }
}
