import LayerModel
import LayerMounts

/// The options of zfs: `zfs.fsname`, the dataset that holds the layers', and `zfs.mountopt`, as in
/// fstab(5).
struct ZFSOptions: Sendable {
    var root: String?
    var mountFlags: MountFlags = []
    /// Words that are no flags.
    var mountData = ""

    /// None.
    init() {}

    init(_ configuration: DriverConfiguration) throws(LayerError) {
        for option in try configuration.options(for: .zfs) {
            switch option.key {
            case "fsname": root = try Self.dataset(option.value)
            case "mountopt": (mountFlags, mountData) = Self.mountOptions(option.value)
            default: throw DriverConfiguration.unknown(option.key, .zfs)
            }
        }
    }

    private static func dataset(_ name: String) throws(LayerError) -> String {
        guard !name.isEmpty, !name.hasPrefix("/"), !name.hasPrefix("-"), !name.contains("@") else {
            throw LayerError(
                .invalidArgument, "read the option zfs.fsname", cause: .reason("'\(name)' is no dataset's name"),
                hint: "write it as pool/dataset")
        }
        return name
    }

    private static let flags: [String: MountFlags] = [
        "nosuid": .noSetUser, "nodev": .noDevices, "noexec": .noExecute, "noatime": .noAccessTimes,
    ]
    /// What is so anyway. Read-only is left out: a layer that is read is written to as well.
    private static let idle: Set<String> = [
        "", "defaults", "rw", "ro", "suid", "dev", "exec", "atime", "relatime", "auto", "noauto", "zfsutil",
    ]

    /// Splits words behind commas into what mount(2) takes as flags and what it takes as data.
    static func mountOptions(_ text: String) -> (MountFlags, String) {
        var (found, rest): (MountFlags, [Substring]) = ([], [])
        for word in text.split(separator: ",") {
            if let flag = flags[String(word)] {
                found.insert(flag)
            } else if !idle.contains(String(word)) {
                rest.append(word)
            }
        }
        return (found, rest.joined(separator: ","))
    }
}
