public import LayerModel

/// Whether unions of aufs can be mounted on this machine.
public enum AUFSSupport {
    /// Throws `driverUnavailable` with the reason where they cannot.
    public static func check() throws(LayerError) {
        let system = SystemAUFSMounts()
        guard !system.isNested else {
            throw DriverErrors.notSupported(.aufs, why: "AUFS cannot be used in non-init user namespace")
        }
        guard try system.kernelHasAUFS() else {
            throw DriverErrors.notSupported(.aufs, why: "AUFS was not found in /proc/filesystems")
        }
    }
}
