/// The defects of the originals that belong to drivers, each in a test of its name. README.md of
/// this folder says where the others are tested.
enum DefectCases {
    static let cases: [DriverCase] = [
        DriverCase(
            "K1 create on an existing id fails and leaves the layer and its short link alone", Defects.existingID),
        DriverCase("K2 a failed create leaves nothing, whatever it was", Defects.failedCreate),
        DriverCase("K3 a file that cannot be read fails the diff", Defects.unreadableFile),
        DriverCase("K4 Changes and DiffSize look at what changed, not at the image", Defects.costFollowsTheChange),
        DriverCase("K5 no diff sleeps, and changes within one tick are seen", Defects.noSleep),
        DriverCase("K6 Diff without a parent applies the id maps", withFacts: Defects.idMaps),
        DriverCase(
            "K7 Cleanup leaves a file system that is mounted at the home directory", withFacts: Defects.mountedHome),
        DriverCase(
            "K8 whiteout and entry of one name, implied opaque directories, similar link targets", Defects.hazards),
        DriverCase("K12 a second home on another file system has its own probe results", withFacts: Defects.twoHomes),
        DriverCase("K12 an unmatched put leaves a mount that somebody else made", Defects.foreignMount),
        DriverCase("K13 attributes of every kind survive a diff", Defects.attributes),
        DriverCase("K15 devices and sockets are compared as what they are", Defects.devices),
        DriverCase("K16 a home with a colon, a comma and a backslash, and long options", withFacts: Defects.oddHome),
        DriverCase("K17 an applied layer's size is what the driver's rule says", Defects.appliedSize),
        DriverCase("K18 project ids are used again, and never by two homes", withFacts: Defects.projectIDs),
        DriverCase("K19 unknown layers are errors, and counters do not survive Remove", Defects.unknownLayers),
    ]
}
