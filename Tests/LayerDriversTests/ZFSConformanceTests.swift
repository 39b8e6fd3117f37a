import LayerDrivers
import Testing

extension DriverFacts {
    static let zfs = DriverFacts(
        name: .zfs, ground: { try ZFSPool.ground() }, depth: 50, inheritsRootMode: true, quota: .everywhere,
        mayStay: ["graph"], removesParents: false,
        statusRows: [
            "Zpool", "Zpool Health", "Parent Dataset", "Space Used By Parent", "Space Available", "Parent Quota",
            "Compression",
        ])
}

/// With zfs-fuse on this machine (`make test`), with OpenZFS's kernel module in a virtual machine (`make test-kernel`).
@Suite(.serialized) struct ZFSConformanceTests {
    static let facts = DriverFacts.zfs

    @Test(arguments: DriverConformance.cases) func conformance(_ test: DriverCase) throws { try test.run(Self.facts) }
    @Test(arguments: DriverConformance.archiveCases) func archives(_ test: DriverCase) throws {
        try test.run(Self.facts)
    }
    @Test(arguments: EdgeCases.cases) func edges(_ test: DriverCase) throws { try test.run(Self.facts) }
    @Test(arguments: DefectCases.cases) func defects(_ test: DriverCase) throws { try test.run(Self.facts) }
}
