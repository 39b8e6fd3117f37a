import LayerDrivers
import Testing

extension DriverFacts {
    /// The first overlay driver: whole trees for images, of which only a container's layer on one is read alone.
    static let overlay = DriverFacts(
        name: .overlay, inheritsRootMode: true, quota: .refused("--storage-opt is not supported for overlay"),
        reserved: ["tempdirs"], mayStay: ["tempdirs"], leaveUnfinished: OverlayFamily.leaveUnfinishedRoot,
        readsUpperAlone: true, statusRows: ["Backing Filesystem", "Supports d_type"])
}

@Suite struct OverlayConformanceTests {
    static let facts = DriverFacts.overlay

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
