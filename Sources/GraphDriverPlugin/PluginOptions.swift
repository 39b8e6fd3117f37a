import LayerDrivers
import LayerEngine
import LayerModel

/// What `--storage-opt` of Docker's daemon says to this plugin: options that begin with `ldiff.`; all others are the
/// driver's.
///
/// | option | |
/// |---|---|
/// | `ldiff.driver=NAME` | the driver: overlay2, overlay, fuse-overlayfs, aufs, zfs |
/// | `ldiff.sync=true` | a pulled layer is on disk before Docker hears that it is there |
/// | `ldiff.profile=full` | layers carry every attribute of their files, not just those that Docker's do |
struct PluginOptions: Equatable {
    var driver: DriverName
    var profile = LayerProfile.moby
    var sync = false
    /// For the driver.
    var rest: [String] = []

    /// Reads Docker's options; `driver` is what the command line said.
    init(_ texts: [String], driver: DriverName) throws(LayerError) {
        self.driver = driver
        for text in texts {
            let option = try DriverOption(parsing: text)
            switch option.key {
            case "ldiff.driver": self.driver = try Self.choice(option)
            case "ldiff.profile": profile = try Self.choice(option)
            case "ldiff.sync": sync = try option.boolean()
            case _ where option.key.hasPrefix("ldiff."):
                throw LayerError(
                    .invalidArgument, "read the storage options", cause: .reason("unknown option \(option.key)"),
                    hint: "there are ldiff.driver, ldiff.profile and ldiff.sync")
            default: rest.append(text)
            }
        }
    }

    private static func choice<Choice: RawRepresentable & CaseIterable>(_ option: DriverOption) throws(LayerError)
        -> Choice where Choice.RawValue == String
    {
        if let choice = Choice(rawValue: option.value) { return choice }
        let names = Choice.allCases.map(\.rawValue).joined(separator: ", ")
        throw LayerError(
            .invalidArgument, "read the storage options", cause: .reason("\(option.key) is no \(option.value)"),
            hint: "choose one of \(names)")
    }
}
