import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// The drivers whose stores Docker and ldiff share.
enum SharedDriver: String, Sendable, CaseIterable, CustomTestStringConvertible {
    case overlay2
    case overlay
    case fuse = "fuse-overlayfs"
    var testDescription: String { rawValue }

    var name: DriverName {
        switch self {
        case .overlay2: .overlay2
        case .overlay: .overlay
        case .fuse: .fuseOverlayFS
        }
    }

    /// Whether the store keeps what changed of each layer; with `overlay`, images are whole trees.
    var keepsChanges: Bool { self != .overlay }
    /// Where a container's changes lie in its layer's directory.
    var upperName: String { keepsChanges ? "diff" : "upper" }
}

/// All suites that start daemons: one test at a time.
@Suite(.serialized, .dockerStores) struct StoreInterop {}

extension SuiteTrait where Self == DockerStores {
    static var dockerStores: DockerStores { DockerStores() }
}

/// Fills one store for each driver before the suite's tests and removes them after.
struct DockerStores: SuiteTrait, TestScoping {
    @TaskLocal static var filled: [SharedDriver: DockerFixture] = [:]

    static func store(_ driver: SharedDriver) throws -> DockerFixture {
        guard let fixture = filled[driver] else { throw TestFailure("no store of \(driver)") }
        return fixture
    }

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        var fixtures: [SharedDriver: DockerFixture] = [:]
        for driver in SharedDriver.allCases { fixtures[driver] = try DockerFixture(driver: driver.rawValue) }
        try await Self.$filled.withValue(fixtures) { try await function() }
    }
}
