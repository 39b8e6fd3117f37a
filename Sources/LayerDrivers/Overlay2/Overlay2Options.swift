import LayerModel

/// The options of overlay2 (drivers.md 6.2).
struct Overlay2Options: Sendable {
    /// Default limit of writable layers in bytes; nil for none.
    var size: UInt64?
    /// Read-only stores besides.
    var additional = AdditionalStores.none

    init(_ configuration: DriverConfiguration) throws(LayerError) {
        for option in try configuration.options(for: .overlay2) {
            switch option.key {
            case "additionalimagestore": additional = try AdditionalStores(parsing: option.value)
            case "size": size = try option.byteCount()
            case "override_kernel_check":
                _ = try option.boolean()
                configuration.log(.warning, "overlay2.override_kernel_check does nothing any more")
            default: throw DriverConfiguration.unknown(option.key, .overlay2)
            }
        }
    }
}
