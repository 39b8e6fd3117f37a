import Glibc
import Testing

/// Every driver through every table; a case's name begins with the driver's.
///
/// `LDIFF_DRIVERS=zfs` and `LDIFF_CASES=Echo` choose among them. One after the other: they mount, and look at what is mounted.
@Suite(.serialized) struct DriverConformanceTests {
    /// Without zfs on zfs-fuse, which answers nobody any more when many threads mount and unmount, or when the question fails
    /// that `ZFSPlatform.unmount` asks it.
    private static let sturdy = DriverFacts.chosen.filter { $0.name != .zfs || ZFSPool.isKernel }

    /// zfs-fuse calls a dataset busy long after a process with files in it was killed, on a loaded machine for minutes: run for
    /// zfs where it is asked for by name (`make test-zfs`).
    private static let patient = DriverFacts.chosen.filter { facts in
        sturdy.contains { $0.name == facts.name } || getenv("LDIFF_DRIVERS") != nil
    }

    @Test(arguments: DriverRun.all(DriverConformance.cases)) func conformance(_ run: DriverRun) throws { try run() }
    @Test(arguments: DriverRun.all(DriverConformance.archiveCases)) func archives(_ run: DriverRun) throws { try run() }
    @Test(arguments: DriverRun.all(EdgeCases.cases)) func edges(_ run: DriverRun) throws { try run() }
    @Test(arguments: DriverRun.all(DefectCases.cases)) func defects(_ run: DriverRun) throws { try run() }

    @Test(.timeLimit(.minutes(60)), arguments: patient, FaultCases.operations.possible)
    func `killed at any call`(_ facts: DriverFacts, _ operation: InterruptedOperation) throws {
        try FaultCases.run(operation, facts, error: FaultCases.kill)
    }

    @Test(.timeLimit(.minutes(60)), arguments: sturdy, FaultCases.operations.possible)
    func `any call fails`(_ facts: DriverFacts, _ operation: InterruptedOperation) throws {
        try FaultCases.run(operation, facts, error: 5)
    }

    /// Of each driver, operation and fault; of the faults one for each of the others, in turn, unless LDIFF_EVERY_CALL is set.
    struct Lasting: Sendable, CustomTestStringConvertible {
        var facts: DriverFacts
        var operation: InterruptedOperation
        var fault: LastingFaultCases.Fault
        var testDescription: String { "\(facts.label): \(operation.testDescription), \(fault.testDescription)" }

        static let all: [Lasting] = {
            let faults = LastingFaultCases.Fault.allCases
            let whole = LastingFaultCases.drivers.flatMap { facts in
                FaultCases.operations.possible.flatMap { operation in
                    faults.map { Lasting(facts: facts, operation: operation, fault: $0) }
                }
            }
            guard setting("LDIFF_EVERY_CALL") == nil else { return whole }
            let operations = FaultCases.operations.possible.count
            return whole.enumerated().filter { number, _ in
                let pair = number / faults.count
                return number % faults.count == (pair / operations + pair % operations) % faults.count
            }.map(\.element)
        }()
    }

    @Test(.timeLimit(.minutes(60)), arguments: Lasting.all)
    func `all calls fail from one on, beside what others keep`(_ test: Lasting) throws {
        try LastingFaultCases.run(test.operation, test.facts, test.fault)
    }

    @Test(arguments: patient)
    func `of processes that make one layer at once one succeeds`(_ facts: DriverFacts) throws {
        try ProcessCases.oneMaker(facts)
    }

    @Test(arguments: ProcessCases.drivers)
    func `a layer that is being made is seen by nobody before it is complete`(_ facts: DriverFacts) throws {
        try ProcessCases.killedMaker(facts)
    }

    @Test(arguments: ProcessCases.randomDrivers)
    func `many processes, killed at random, leave what they were told`(_ facts: DriverFacts) throws {
        try ProcessCases.randomWork(facts)
    }

    @Test(arguments: sturdy)
    func `many threads`(_ facts: DriverFacts) throws {
        try ConcurrencyCases.run(facts)
    }
}

/// One case with one driver.
struct DriverRun: Sendable, CustomTestStringConvertible {
    let facts: DriverFacts
    let test: DriverCase

    /// Each case with each driver that can run it.
    static func all(_ cases: [DriverCase]) -> [DriverRun] {
        DriverFacts.chosen.flatMap { facts in cases.possible(for: facts).map { DriverRun(facts: facts, test: $0) } }
    }

    var testDescription: String { "\(facts.label): \(test.testDescription)" }

    func callAsFunction() throws { try test.run(facts) }
}
