import Glibc
import LayerKit
import TestSupport
import Testing

@testable import LayerDrivers

extension DriverFacts {
    /// The driver itself over mounts that fuse-overlayfs shows; what only a kernel with aufs could tell is not covered.
    static let aufs = DriverFacts(
        name: .aufs, open: { try AUFSDriver($1, system: PretendedAUFS()) }, depth: 126,
        quota: .refused("--storage-opt is not supported for aufs"), reserved: ["x-removing", ".tmp-x"],
        leaveUnfinished: { home, id in
            for part in ["mnt", "diff"] {
                guard mkdir("\(home)/\(part)/\(id)", 0o755) == 0 else { throw SystemCallError("mkdir", errno: errno) }
            }
        },
        readsUpperAlone: true, countsAppliedFiles: true, writesOpaqueMarkers: true,
        statusRows: ["Root Dir", "Backing Filesystem", "Dirs", "Dirperm1 Supported"])
}

@Suite struct AUFSConformanceTests {
    static let facts = DriverFacts.aufs

    @Test(arguments: DriverConformance.cases.possible(for: facts))
    func conformance(_ test: DriverCase) throws { try test.run(Self.facts) }

    @Test(arguments: DriverConformance.archiveCases.possible(for: facts))
    func archives(_ test: DriverCase) throws { try test.run(Self.facts) }

    @Test(arguments: EdgeCases.cases.possible(for: facts))
    func edges(_ test: DriverCase) throws { try test.run(Self.facts) }

    @Test(arguments: DefectCases.cases.possible(for: facts))
    func defects(_ test: DriverCase) throws { try test.run(Self.facts) }

    @Test func `many threads`() throws { try ConcurrencyCases.run(Self.facts) }
}
