import LayerModel

/// The constants in which profiles differ.
struct ProfileRules: Sendable {
    /// Mode fields carry the file type too.
    var typeBitsInMode = false
    /// User and group names are looked up on this machine.
    var ownerNames = false
    var attributes: AttributePolicy
    /// Capabilities of revision 3 are written as revision 2.
    var rewritesCapability = true
    /// Later names of a shared whiteout inode keep a link name (D24).
    var whiteoutLinkNames = false
    var whiteoutMode: UInt32 = 0o600
    /// Opaque markers only where a lower layer has the directory (D27).
    var opaqueNeedsLower = false
    /// Ids go through the id maps.
    var mapsIDs = true
    var format = TarWriteFormatChoice.pax
    /// Order of a comparison of two trees.
    var comparisonOrder = PathOrder.wholePath
    /// Deletions found by comparing two trees carry the present time.
    var deletionTimeIsNow = false
    /// Names that begin with `.wh.` are written as they are, as the program does whose archives these equal.
    var keepsReservedNames = true
    /// Whiteouts that lie on disk as files of one inode are written as links.
    var linksMarkers = true
    var equality: EqualityRule

    enum TarWriteFormatChoice: Sendable { case pax, exact, unspecified }

    /// The rules for a layer with these options.
    init(_ options: DiffOptions) {
        self.init(options.profile)
        guard options.isExact else { return }
        attributes = .whole
        equality.attributes = .whole
        rewritesCapability = false
        format = .exact
    }

    init(_ profile: LayerProfile) {
        switch profile {
        case .full:
            attributes = .full
            equality = .full
            equality.contents = .coarseTimes
            opaqueNeedsLower = true
            keepsReservedNames = false
            linksMarkers = false
            comparisonOrder = .depthFirst
        case .moby, .docker20, .docker20late:
            attributes = .capability
            equality = .docker
            whiteoutLinkNames = true
            deletionTimeIsNow = true
            typeBitsInMode = profile != .moby
            ownerNames = profile == .docker20
        case .containerd:
            attributes = .capability
            rewritesCapability = false
            equality = .containerd
            mapsIDs = false
            comparisonOrder = .depthFirst
        case .cstorage:
            attributes = .cstorage
            equality = .cstorage
            whiteoutMode = 0
            opaqueNeedsLower = true
            format = .unspecified
            deletionTimeIsNow = true
        }
    }
}
