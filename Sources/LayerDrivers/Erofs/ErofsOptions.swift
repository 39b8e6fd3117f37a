import LayerModel

/// The options of erofs.
struct ErofsOptions: Sendable {
    /// Which layers are packed.
    var form = PackedForm.auto
    /// How the kernel comes by the files of packed layers.
    var way = PackedWay.auto
    /// Default limit of writable layers in bytes; nil for none.
    var size: UInt64?
    /// Whether the marks lie in `user.overlay.`, for a store that was made in another user namespace; nil: as here.
    var userXattr: Bool?

    init(_ configuration: DriverConfiguration) throws(LayerError) {
        for option in try configuration.options(for: .erofs) {
            switch option.key {
            case "form": form = try Self.choice(option)
            case "mount": way = try Self.choice(option)
            case "userxattr": userXattr = try option.boolean()
            case "size": size = try option.byteCount()
            default: throw DriverConfiguration.unknown(option.key, .erofs)
            }
        }
    }

    private static func choice<Choice: RawRepresentable<String> & CaseIterable>(
        _ option: DriverOption
    ) throws(LayerError) -> Choice {
        if let choice = Choice(rawValue: option.value) { return choice }
        let all = Choice.allCases.map(\.rawValue).joined(separator: ", ")
        throw LayerError(
            .invalidArgument, "read the option \(option.key)",
            cause: .reason("'\(option.value)' is none of \(all)"))
    }
}
