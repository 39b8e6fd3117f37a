/// The conformance suite of Docker's and containers/storage's drivers, name by name.
///
/// Every driver runs all of it with real mounts; what differs between drivers by right is in `DriverFacts`.
enum DriverConformance {
    static let cases: [DriverCase] = [
        DriverCase("DriverTestSetup", GraphTests.setup),
        DriverCase("DriverTestCreateEmpty", GraphTests.createEmpty),
        DriverCase("DriverTestCreateBase", GraphTests.createBase),
        DriverCase("DriverTestCreateSnap", GraphTests.createSnap),
        DriverCase("DriverTestDeepLayerRead", GraphTests.deepLayerRead),
        DriverCase("DriverTestDiffApply", GraphTests.diffApply),
        DriverCase("DriverTestChanges", GraphTests.changes),
        DriverCase("DriverTestChanges of the same tick", GraphTests.changesOfTheSameTick),
        DriverCase("DriverTestSetQuota", withFacts: QuotaTests.setQuota),
        DriverCase("DriverTestCreateFromTemplate", GraphTests.createFromTemplate),
        DriverCase("DriverTestEcho", GraphTests.echo),
        DriverCase("DriverTestListLayers", GraphTests.listLayers),
        DriverCase("DriverTestTeardown", GraphTests.teardown),
    ]

    /// The archives that must survive, through layers of a driver; the engine's own tests have the rest
    /// (README.md of this folder says which).
    static let archiveCases: [DriverCase] = [
        DriverCase("ChangesWithNoChanges, ChangesDirsEmpty", ArchiveTests.noChanges),
        DriverCase("ChangesWithChanges", ArchiveTests.changesWithChanges),
        DriverCase("ChangesWithChangesGH13590", ArchiveTests.changesOfOneRewrittenFile),
        DriverCase("ChangesDirsMutated", ArchiveTests.changesDirsMutated),
        DriverCase("ApplyLayer", ArchiveTests.applyLayer),
        DriverCase("ChangesSizeWithHardLinks", ArchiveTests.sizeWithHardLinks),
        DriverCase("ChangesSizeWithNoChanges", ArchiveTests.sizeWithNoChanges),
        DriverCase("ChangesSizeWithOnlyDeleteChanges", ArchiveTests.sizeWithOnlyDeletions),
        DriverCase("ChangesSize", ArchiveTests.sizeOfTwoFiles),
        DriverCase("HardLinkOrder", ArchiveTests.hardLinkOrder),
        DriverCase("ApplyLayerWhiteouts", ArchiveTests.applyLayerWhiteouts),
        DriverCase("OverlayTarUntar", ArchiveTests.overlayTarUntar),
        DriverCase("native changes equal those of two walks", ArchiveTests.nativeEqualsCompared),
    ]
}
