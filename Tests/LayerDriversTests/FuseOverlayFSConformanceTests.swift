import LayerDrivers
import Testing

extension DriverFacts {
    /// The layout of overlay2, mounted by the real helper.
    static let fuseOverlayFS = DriverFacts(
        name: .fuseOverlayFS, depth: 128, depthLimit: 128, quota: .refused("--storage-opt is not supported"),
        reserved: ["l", "staging", "staging.lock", "tempdirs", "backingFsBlockDev", ".has-mount-program"],
        mayStay: ["tempdirs"], leaveUnfinished: OverlayFamily.leaveUnfinished, readsUpperAlone: true,
        countsAppliedFiles: true, writesOpaqueMarkers: true,
        statusRows: ["Backing Filesystem", "Mount Program", "Version"])
}

@Suite struct FuseOverlayFSConformanceTests {
    static let facts = DriverFacts.fuseOverlayFS

    @Test(arguments: DriverConformance.cases.possible(for: facts))
    func conformance(_ test: DriverCase) throws { try test.run(Self.facts) }

    @Test(arguments: DriverConformance.archiveCases.possible(for: facts))
    func archives(_ test: DriverCase) throws { try test.run(Self.facts) }

    @Test(arguments: EdgeCases.cases.possible(for: facts))
    func edges(_ test: DriverCase) throws { try test.run(Self.facts) }

    @Test(arguments: DefectCases.cases.possible(for: facts))
    func defects(_ test: DriverCase) throws { try test.run(Self.facts) }

    @Test(.timeLimit(.minutes(10)), arguments: FaultCases.operations.possible)
    func `killed at any call`(_ operation: InterruptedOperation) throws {
        try FaultCases.run(operation, Self.facts, error: FaultCases.kill)
    }

    @Test(.timeLimit(.minutes(10)), arguments: FaultCases.operations.possible)
    func `any call fails`(_ operation: InterruptedOperation) throws {
        try FaultCases.run(operation, Self.facts, error: 5)
    }

    @Test func `many threads`() throws { try ConcurrencyCases.run(Self.facts) }
}
