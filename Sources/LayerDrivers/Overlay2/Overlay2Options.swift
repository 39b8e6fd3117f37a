import LayerModel

/// The options of overlay2.
struct Overlay2Options: Sendable {
    /// Default limit of writable layers in bytes; nil for none.
    var size: UInt64?
    /// Whether the marks lie in `user.overlay.`, for a store that was made in another user namespace; nil: as here.
    var userXattr: Bool?
    /// Docker's option that does nothing any more.
    var overridesKernelCheck = false
    /// Read-only stores besides.
    var additional = AdditionalStores.none

    init(_ configuration: DriverConfiguration) throws(LayerError) {
        for option in try configuration.options(for: .overlay2) {
            switch option.key {
            case "additionalimagestore": additional = try AdditionalStores(parsing: option.value)
            case "userxattr": userXattr = try option.boolean()
            case "size": size = try option.byteCount()
            case "override_kernel_check":
                _ = try option.boolean()
                overridesKernelCheck = true
            default: throw DriverConfiguration.unknown(option.key, .overlay2)
            }
        }
    }
}
