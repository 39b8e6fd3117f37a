import LayerModel
import LinuxIO

/// The options of fuse-overlayfs. Docker takes any and reads none (K11); these are ldiff's own.
struct FuseOverlayFSOptions: Sendable {
    /// The program that mounts; looked up in PATH where it is no path.
    var mountProgram = PathBytes("fuse-overlayfs")
    /// Options for each of its mounts, `key=value` or a flag.
    var mountOptions: [String] = []
    /// Whether the program that made the store's layers has no privileges, and so its marks in `user.` attributes.
    var userXattr = ProcessState.lacksTrustedAttributes

    init(_ configuration: DriverConfiguration) throws(LayerError) {
        for option in try configuration.options(for: .fuseOverlayFS) {
            switch option.key {
            case "mount_program":
                guard !option.value.isEmpty else { throw Self.invalid(option, "name a program") }
                mountProgram = PathBytes(option.value)
            case "userxattr": userXattr = try option.boolean()
            case "mountopt":
                let words = option.value.split(separator: ",").map(String.init)
                for word in words where Self.ours.contains(where: { word.hasPrefix($0 + "=") }) {
                    throw Self.invalid(option, "the driver itself names the directories of each mount")
                }
                mountOptions += words
            default: throw DriverConfiguration.unknown(option.key, .fuseOverlayFS)
            }
        }
    }

    private static let ours = ["lowerdir", "upperdir", "workdir"]

    private static func invalid(_ option: DriverOption, _ why: String) -> LayerError {
        LayerError(
            .invalidArgument, "open the driver",
            cause: .reason("fuse-overlayfs.\(option.key)=\(option.value): \(why)"))
    }
}
